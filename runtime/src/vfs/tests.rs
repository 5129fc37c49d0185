//! Each operation of the virtual file system, and each error it can answer.
