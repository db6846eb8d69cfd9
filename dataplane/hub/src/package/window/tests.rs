//! Windows as players see them.
