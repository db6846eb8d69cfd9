//! HPACK (RFC 7541): header blocks to fields and back.
//!
//! Reading has the state that the peer's encoder asks for, at most 4,096 bytes. Writing has none: it uses the static table and literals without
//! indexing, so that one block serves every connection.
mod decode;
mod dynamic_table;
mod encode;
mod error;
mod fields;
mod huffman;
mod integer;
mod static_table;
#[cfg(test)]
mod tests;

pub use decode::Decoder;
pub use encode::{TABLE_SIZE_ZERO, encode_field};
pub use error::HpackError;
pub use fields::Fields;
