"""Modules of hooks are bytes: schemathesis knows no other media type for what application/wasm names."""
import schemathesis

schemathesis.serializer.alias("application/wasm", "application/octet-stream")
