// A CloudFront Function (runtime 2.0, viewer request) that checks play grants at the edge: docs/cdn.md says how it is made and rotated.
// It takes the grant out of the path, so that the cache has one copy for all viewers, and says to the origin that it has done so. What has no grant,
// and what the cache is of no use for (FLV, pages), goes on as it is: the origin decides.
const crypto = require('crypto');

// `millstream grant-key --generation 1`. While a key is replaced, both are here.
const KEYS = {
    '1': 'the key',   // <-
};
// `edge_secret` of the origin's [auth].
const EDGE_SECRET = 'the edge_secret of the origin';   // <-

// What can be cached: a playlist or manifest of the stream or of a rendition, and files below `s`. Nothing that could be read in two ways gets through.
const PATH = /^\/g\/(v1\.([0-9]{1,9})\.([0-9]{1,12})\.[A-Za-z0-9_-]{16})\.([A-Za-z0-9_-]{43})\/([A-Za-z0-9_-]{1,64})\/((?:[A-Za-z0-9]+\/)?[a-z0-9-]+\.(?:m3u8|mpd)|(?:[A-Za-z0-9]+\/)?s\/[A-Za-z0-9_-]+\/[A-Za-z0-9_-]+\/[A-Za-z0-9_-]+\.[a-z0-9]+)$/;
// The same things, by whatever stands before them.
const CACHED = /^\/g\/[^\/]*\.[^\/]*\/[^\/]+\/(?:.*\.(?:m3u8|mpd)|(?:[^\/]+\/)?s\/.*)$/;

function same(a, b) {
    let differs = a.length ^ b.length;
    for (let i = 0; i < a.length; i += 1) differs |= a.charCodeAt(i) ^ b.charCodeAt(i % b.length);
    return differs === 0;
}

function refused(why) {
    return {
        statusCode: 403,
        statusDescription: 'Forbidden',
        headers: {
            'cache-control': { value: 'no-store' },
            'access-control-allow-origin': { value: '*' },
            'content-type': { value: 'text/plain; charset=utf-8' },
        },
        body: '403 Forbidden: ' + why + '; ask for a new one: POST /NAME/grant\n',
    };
}

function handler(event) {
    const request = event.request;
    // Nobody but this function says that a grant was checked.
    delete request.headers['x-millstream-edge'];
    if (!CACHED.test(request.uri)) return request;
    const match = PATH.exec(request.uri);
    if (!match) return refused('the grant in the path is not whole, or not of the form that the server makes');
    const said = match[1], generation = match[2], expiry = Number(match[3]), mac = match[4], id = match[5], file = match[6];
    const key = Object.prototype.hasOwnProperty.call(KEYS, generation) ? KEYS[generation] : '';
    if (!key) return refused('the grant in the path was made with a key that is not in force any more');
    const right = crypto.createHmac('sha256', key).update(said + '/' + id).digest('base64url');
    if (!same(right, mac)) return refused('the grant in the path is wrong, or was made for another stream');
    if (Date.now() >= expiry * 1000) return refused('the grant in the path has expired');
    request.uri = '/' + id + '/' + file;
    request.headers['x-millstream-edge'] = { value: EDGE_SECRET };
    return request;
}
