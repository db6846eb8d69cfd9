//! A bounds-checked reader.
