//! Reading the fields of a table.
