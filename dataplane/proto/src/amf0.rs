//! AMF0.
