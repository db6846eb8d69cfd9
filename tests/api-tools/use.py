"""A program over the generated client: types are there, and answers become objects."""
from millstream_client import AuthenticatedClient
from millstream_client.api.streams import get_streams, get_streams_by_id_key, patch_streams_by_id, post_streams
from millstream_client.models import Key, NewStream, Stream

new = NewStream(id="cam")
assert new.to_dict() == {"id": "cam"}, new.to_dict()
client = AuthenticatedClient(base_url="http://127.0.0.1:8081", token="token")
for call in (get_streams, get_streams_by_id_key, patch_streams_by_id, post_streams):
    assert callable(call.sync), call
key = Key.from_dict({
    "generation": 1, "previous": [], "expires_unix_s": None, "sign": None, "legacy_sign": None,
    "push_url": None, "push_urls": [{"node": "a", "push_url": "rtmp://a/stream/cam"}],
})
assert key.push_urls[0].node == "a", key
assert Stream.from_dict is not None
