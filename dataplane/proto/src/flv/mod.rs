//! FLV.
