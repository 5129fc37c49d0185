//! Makes a task's manifest from its inputs and looks its result up.
