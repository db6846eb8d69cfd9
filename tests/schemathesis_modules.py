"""Modules of hooks and clips of slates are bytes: schemathesis knows no media type for them but octet-stream."""
import schemathesis

schemathesis.serializer.alias("application/wasm", "application/octet-stream")
schemathesis.serializer.alias("video/mp4", "application/octet-stream")
