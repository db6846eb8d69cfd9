// Plays a stream in headless Chromium with the players that people use, set as they come, and measures what the viewer sees:
// `node players.mjs '{"server": "http://HOST:PORT/ID", "players": ["shaka", ...], "seconds": 20, ...}'`. All named players run at once, each with
// cookies, cache and connections of its own. Prints for each player a line for people and a line of JSON.
//
// `schedule` says when the encoder sends a picture: `{"epochMs", "periodMs", "sentMs": [...]}`; picture n, whose number is in ten squares at its
// top (the lowest bit first), goes out at epochMs + sentMs[n] + k * periodMs.
//
// `latencyMs` puts the server so far away, there and back.
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect, createServer as createTcpServer } from 'node:net';
import { createRequire } from 'node:module';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { sleep } from './chromium.mjs';
import { openFirefox } from './firefox.mjs';

const modules = join(dirname(fileURLToPath(import.meta.url)), 'node_modules');
const version = (name) => createRequire(import.meta.url)(join(modules, name, 'package.json')).version;

// What a page does for each player: `load` are its files, `open` runs in the page with the element (or the place for it) and the stream's address.
// Settings are the player's own unless the line says why not.
const hlsJs = (name, options = {}) => ({
  package: name,
  load: [`${name}/dist/hls.min.js`],
  url: 'live.m3u8',
  options,
  open(url, place, settings) {
    const hls = new Hls({ ...settings, debug: Boolean(window.logs) });
    hls.on(Hls.Events.ERROR, (_, data) => note(`${data.details}${data.fatal ? ' (fatal)' : ''}`));
    const video = element(place);
    hls.on(Hls.Events.MANIFEST_PARSED, () => video.play().catch((error) => note(error.message)));
    hls.loadSource(url);
    hls.attachMedia(video);
    window.told = () => ({ latency: hls.latency, target: hls.targetLatency });
  },
});
const shaka = (url, settings = {}) => ({
  package: 'shaka-player',
  load: ['shaka-player/dist/shaka-player.compiled.js'],
  url,
  options: settings,
  async open(address, place, given) {
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    const video = element(place);
    await player.attach(video);
    player.configure(given);
    player.addEventListener('error', (event) => note(`shaka ${event.detail.code} ${event.detail.data}`));
    await player.load(address);
    await video.play();
  },
});
const flv = (name, file, variable, url, options, config) => ({
  package: name,
  load: [file],
  url,
  options: { variable, options, config },
  open(address, place, given) {
    const library = window[given.variable];
    const player = library.createPlayer({ type: 'flv', isLive: true, url: address }, { ...given.config, ...given.options });
    player.on(library.Events.ERROR, (type, detail) => note(`${type} ${detail}`));
    player.attachMediaElement(element(place));
    player.load();
    player.play()?.catch?.((error) => note(error.message));
  },
});
const PLAYERS = {
  'hls.js 1.5': hlsJs('hls-1.5'),
  'hls.js 1.6': hlsJs('hls-1.6'),
  'hls.js 1.7': hlsJs('hls-1.7'),
  videojs: {
    package: 'video.js',
    load: ['video.js/dist/video.js', 'video.js/dist/video-js.css'],
    url: 'live.m3u8',
    open(url, place) {
      const made = document.createElement('video-js');
      place.append(made);
      const player = videojs(made, { muted: true, autoplay: true, width: 640, height: 360, html5: { vhs: { llhls: true, experimentalLLHLS: true } } });
      player.on('error', () => note(`video.js ${player.error().message}`));
      player.src({ src: url, type: 'application/x-mpegURL' });
    },
  },
  'shaka ll': shaka('live.m3u8'),
  'shaka hls': shaka('live.m3u8', { streaming: { lowLatencyMode: false } }),
  'shaka dash': shaka('manifest.mpd'),
  clappr: {
    package: '@clappr/player',
    load: ['@clappr/player/dist/clappr.min.js'],
    url: 'live.m3u8',
    open(source, place) {
      const player = new Clappr.Player({ source, mute: true, autoPlay: true, width: 640, height: 360 });
      player.on(Clappr.Events.PLAYER_ERROR, (error) => note(`clappr ${error.code}`));
      player.attachTo(place);
    },
  },
  'dash.js': {
    package: 'dashjs',
    load: ['dashjs/dist/modern/umd/dash.all.min.js'],
    url: 'manifest.mpd',
    open(url, place) {
      const player = dashjs.MediaPlayer().create();
      player.on('error', (event) => note(`dash.js ${event.error?.code} ${event.error?.message}`));
      player.initialize(element(place), url, true);
    },
  },
  // Chasing and no stash: what its README tells those to set who want live streams live.
  'mpegts.js': flv('mpegts.js', 'mpegts.js/dist/mpegts.js', 'mpegts', 'live.flv', { liveBufferLatencyChasing: true, enableStashBuffer: false }),
  // It knows no chasing: a start at the next keyframe is the way to a small delay.
  'flv.js': flv('flv.js', 'flv.js/dist/flv.min.js', 'flvjs', 'live.flv?start=next', { enableStashBuffer: false }),
  native: {
    load: [],
    url: 'live.m3u8',
    open(url, place) {
      const video = element(place);
      if (!video.canPlayType('application/vnd.apple.mpegurl')) note('this browser does not play HLS');
      // Else the numbers of its pictures may not be read.
      video.crossOrigin = 'anonymous';
      // Chromium 156 that waits for data before it plays gives up a stream which has less than ten seconds of it (ManifestUpdateForLiveResume):
      // so it is told to play before it has any.
      video.autoplay = false;
      video.preload = 'none';
      video.src = url;
      video.play().catch((error) => note(error.message));
    },
  },
  // What the browser makes of the same pictures out of a file: the measure of the others.
  file: { load: [], file: true, open(url, place) { Object.assign(element(place), { src: url, loop: true }); } },
};

const given = JSON.parse(process.argv[2]);
const { seconds = 20, rate = 30, schedule, latencyMs = 0 } = given;
// A directory for what the players say and each picture that was seen.
const logs = process.env.PLAYERS_LOGS;
for (const name of given.players) if (!PLAYERS[name]) throw new Error(`no player ${name}; there are ${Object.keys(PLAYERS).join(', ')}`);

// Runs in the page before everything else.
function prepare() {
  performance.setResourceTimingBufferSize(10_000);
  window.notes = [];
  window.seen = [];
  window.note = (text) => window.notes.push(`${((performance.now()) / 1000).toFixed(1)} s: ${text}`);
  window.addEventListener('error', (event) => window.note(`page error: ${event.message}`));
  window.addEventListener('unhandledrejection', (event) => window.note(`page error: ${event.reason?.message ?? event.reason?.code ?? event.reason}`));
  window.element = (place) => {
    const video = document.createElement('video');
    Object.assign(video, { muted: true, autoplay: true, playsInline: true, width: 640, height: 360 });
    place.append(video);
    return video;
  };
  const canvas = document.createElement('canvas');
  canvas.width = 20;
  canvas.height = 2;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  const watch = (video) => {
    window.video = video;
    for (const name of ['waiting', 'stalled', 'seeking', 'error', 'ended']) {
      video.addEventListener(name, () => window.note(`${name} at ${video.currentTime.toFixed(2)}${video.error ? ` ${video.error.message}` : ''}`));
    }
    const onFrame = (now, { presentedFrames, expectedDisplayTime, mediaTime, width, height }) => {
      video.requestVideoFrameCallback(onFrame);
      // Of the picture's 180 lines the first 32 hold the number.
      context.drawImage(video, 0, height * (14 / 180), width, height * (4 / 180), 0, 0, 20, 2);
      const { data } = context.getImageData(0, 0, 20, 1);
      let number = 0;
      for (let bit = 0; bit < 10; bit += 1) {
        const luma = data[(bit * 2 + 1) * 4];
        if (luma > 160) number += 2 ** bit;
        if (luma > 90 && luma <= 160) number = Infinity;
      }
      window.seen.push([Number.isFinite(number) ? number : -1, expectedDisplayTime, presentedFrames, mediaTime]);
    };
    video.requestVideoFrameCallback(onFrame);
  };
  // Players make their elements themselves, some of them several.
  new MutationObserver(() => {
    const video = document.querySelector('video');
    if (video && video !== window.video) watch(video);
  }).observe(document, { childList: true, subtree: true });
}

const TYPES = { '.js': 'text/javascript', '.css': 'text/css', '.mp4': 'video/mp4', '.map': 'application/json' };

// Serves the pages, and the players' files as npm installed them.
function serve() {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    const [, first, ...rest] = pathname.split('/').map(decodeURIComponent);
    try {
      if (first === 'page') {
        const player = PLAYERS[rest[0]];
        const url = player.file ? '/file.mp4' : `${given.server}/${player.url}`;
        const tag = (file) => (file.endsWith('.css') ? `<link rel="stylesheet" href="/m/${file}">` : `<script src="/m/${file}"></script>`);
        response.setHeader('Content-Type', 'text/html; charset=utf-8');
        response.end(`<!doctype html><title>${rest[0]}</title><link rel="icon" href="data:,"><script>window.logs = ${Boolean(logs)}; (${prepare})();</script>
${player.load.map(tag).join('')}<div id="place"></div>
<script>(${player.open.toString().replace(/^(async )?open/, '$1function open')})(${JSON.stringify(url)}, document.getElementById('place'), ${JSON.stringify(player.options ?? {})});</script>`);
        return;
      }
      const path = first === 'm' ? join(modules, normalize(`/${rest.join('/')}`)) : given.file;
      const size = statSync(path).size;
      const body = readFileSync(path);
      response.setHeader('Content-Type', TYPES[extname(path)] ?? 'application/octet-stream');
      response.setHeader('Accept-Ranges', 'bytes');
      const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
      if (range) {
        const [from, to] = [Number(range[1]), range[2] ? Math.min(Number(range[2]), size - 1) : size - 1];
        response.writeHead(206, { 'Content-Range': `bytes ${from}-${to}/${size}`, 'Content-Length': to - from + 1 });
        response.end(body.subarray(from, to + 1));
      } else {
        response.end(body);
      }
    } catch (error) {
      response.writeHead(404).end(error.message);
    }
  });
  return new Promise((done) => { server.listen(0, '127.0.0.1', () => done(server)); });
}

// Puts the server so far away: what goes through arrives half a round trip later, and a connection takes one to begin.
function putAway(origin) {
  const { hostname, port } = new URL(origin);
  const later = (from, to, firstMs) => {
    let notBefore = Date.now() + firstMs;
    const after = (act) => {
      const at = Math.max(notBefore, Date.now() + latencyMs / 2);
      notBefore = at;
      setTimeout(act, at - Date.now());
    };
    from.on('data', (bytes) => after(() => to.write(bytes)));
    from.on('close', () => after(() => to.destroy()));
    from.on('error', () => {});
  };
  const server = createTcpServer((near) => {
    const far = connect(Number(port), hostname);
    for (const socket of [near, far]) socket.setNoDelay(true);
    later(near, far, latencyMs * 1.5);
    later(far, near, 0);
  });
  return new Promise((done) => { server.listen(0, '127.0.0.1', () => done(server)); });
}

const percentile = (sorted, fraction) => sorted[Math.round((sorted.length - 1) * fraction)];

// When the newest sending of that picture was, before the moment at which it was seen.
function sentBefore(number, seenMs) {
  const first = schedule.epochMs + schedule.sentMs[number];
  return first + Math.floor((seenMs - first) / schedule.periodMs) * schedule.periodMs;
}

// Opens a page with cookies, cache and connections of its own; `asked` are the moments at which it asked for which playlist.
async function openPage(browser, origin) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const [asked, failed, log] = [new Map(), [], []];
  const opened = Date.now();
  page.on('request', (request) => {
    const { pathname, origin: at } = new URL(request.url());
    if (/\.(m3u8|mpd)$/.test(pathname) && at !== origin) asked.set(pathname, [...(asked.get(pathname) ?? []), Date.now()]);
  });
  page.on('response', (response) => {
    const { pathname, search } = new URL(response.url());
    if (response.status() >= 400) failed.push(`${response.status()} ${pathname}${search}`);
  });
  if (logs) {
    const say = (text) => log.push(`${Date.now() - opened} ${text}`);
    page.on('console', (said) => say(said.text()));
    const inside = await context.newCDPSession(page);
    for (const event of ['Media.playerErrorsRaised', 'Media.playerMessagesLogged']) inside.on(event, (told) => say(JSON.stringify(told)));
    await inside.send('Media.enable');
  }
  return {
    version: browser.version(),
    asked: () => asked,
    failed,
    log,
    goto: (url) => page.goto(url),
    evaluate: (run) => page.evaluate(run),
    close: () => context.close(),
  };
}

// The same in Firefox, which tells of requests only in the page itself.
async function openFirefoxPage() {
  const page = await openFirefox();
  return {
    ...page,
    failed: [],
    log: [],
    async asked() {
      const times = await page.evaluate(() => performance.getEntriesByType('resource')
        .filter(({ name }) => /\.(m3u8|mpd)(\?|$)/.test(name))
        .map(({ name, startTime }) => [new URL(name).pathname, performance.timeOrigin + startTime]));
      return times.reduce((all, [path, at]) => all.set(path, [...(all.get(path) ?? []), at]), new Map());
    },
  };
}

async function play(browser, origin, name) {
  const page = await (browser ? openPage(browser, origin) : openFirefoxPage());
  const { failed, log } = page;
  const opened = Date.now();
  await page.goto(`${origin}/page/${encodeURIComponent(name)}`);
  const seen = [];
  let from;
  const end = () => (from === undefined ? opened + (given.patience ?? 20) * 1000 : from + seconds * 1000);
  while (Date.now() < end()) {
    await sleep(250);
    const [more, timeOrigin] = await page.evaluate(() => [window.seen.splice(0), performance.timeOrigin]);
    for (const [number, at, presented, media] of more) seen.push({ number, at: timeOrigin + at, presented, media });
    if (from === undefined && seen.length > 0) from = seen[0].at;
  }
  const told = await page.evaluate(() => ({
    notes: window.notes,
    rate: window.video?.playbackRate,
    own: window.told?.(),
    buffered: window.video?.buffered.length ? window.video.buffered.end(window.video.buffered.length - 1) - window.video.currentTime : 0,
    quality: window.video && { ...['totalVideoFrames', 'droppedVideoFrames'].reduce((all, key) => ({ ...all, [key]: window.video.getVideoPlaybackQuality()[key] }), {}) },
  }));
  const asked = await page.asked();
  await page.close();
  const result = { player: name, version: PLAYERS[name].package ? version(PLAYERS[name].package) : page.version, startMs: null, frames: 0 };
  const stretch = Math.min(end(), Date.now()) - (from ?? opened);
  const rates = [...asked].map(([path, times]) => [path, times.filter((at) => at >= (from ?? opened)).length / (stretch / 1000)]);
  result.playlists = Math.max(0, ...rates.map(([, perSecond]) => perSecond));
  result.notes = told.notes;
  result.failed = failed;
  result.rate = told.rate;
  result.buffered = told.buffered;
  result.own = told.own;
  result.quality = told.quality;
  if (from === undefined) return result;
  const within = seen.filter(({ at }) => at <= from + seconds * 1000);
  result.startMs = from - opened;
  // The browser's own count, where it agrees with the time that went by in the stream: Firefox counts pictures that a seek threw away.
  const shown = within.slice(1).map(({ presented, media }, i) => Math.min(presented - within[i].presented, Math.max(1, Math.round((media - within[i].media) * rate))));
  result.frames = (1 + shown.reduce((sum, n) => sum + n, 0)) / (seconds * rate);
  // Between two callbacks, pictures may have been shown that the page was not told of.
  const gaps = within.slice(1).map(({ at, presented }, i) => [(at - within[i].at) / Math.max(1, presented - within[i].presented), (within[i].at - from) / 1000]);
  gaps.push([from + seconds * 1000 - within.at(-1).at, (within.at(-1).at - from) / 1000]);
  gaps.sort(([a], [b]) => b - a);
  [[result.stallMs, result.stallAt]] = gaps;
  result.stalls = gaps.filter(([gap]) => gap > 100).length;
  if (schedule) {
    const settled = within.filter(({ number, at }) => at >= from + (seconds * 1000) / 3 && number >= 0 && number < schedule.sentMs.length);
    const delays = settled.map(({ number, at }) => at - sentBefore(number, at)).sort((a, b) => a - b);
    result.delayMs = { p50: percentile(delays, 0.5), p99: percentile(delays, 0.99) };
    result.read = settled.length / within.filter(({ at }) => at >= from + (seconds * 1000) / 3).length;
  }
  if (logs) {
    const file = join(logs, `${name.replace(/[^\w.]/g, '-')}-${opened}`);
    writeFileSync(`${file}.log`, `${line(result)}\n${log.join('\n')}\n`);
    writeFileSync(`${file}.json`, JSON.stringify({ seen: within, asked: [...asked], ...told, failed, from, opened }));
  }
  return result;
}

const whole = (value, digits = 0) => (value === undefined || value === null || Number.isNaN(value) ? '-' : value.toFixed(digits));

function line(of) {
  return `${`${of.player} ${of.version}`.padEnd(28)} start ${whole(of.startMs).padStart(6)} ms, frames ${whole(of.frames * 100, 1).padStart(5)}%, `
    + `longest stall ${whole(of.stallMs).padStart(5)} ms (at ${whole(of.stallAt, 1)} s; ${of.stalls ?? '-'} above 100 ms), `
    + `delay p50 ${whole(of.delayMs?.p50).padStart(5)} p99 ${whole(of.delayMs?.p99).padStart(5)} ms, playlists ${whole(of.playlists, 1)}/s, `
    + `rate ${whole(of.rate, 2)}, ${of.notes.length} notes${of.notes.length ? `: ${of.notes.slice(0, 6).join(' | ')}` : ''}`
    + `${of.failed.length ? `; ${of.failed.length} refused: ${of.failed.slice(0, 3).join(' ')}` : ''}`;
}

const away = latencyMs > 0 ? await putAway(given.server) : null;
if (away) given.server = given.server.replace(/:\d+/, `:${away.address().port}`);
const pages = await serve();
const origin = `http://127.0.0.1:${pages.address().port}`;
const browser = given.browser === 'firefox' ? null : await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--autoplay-policy=no-user-gesture-required', '--disable-background-timer-throttling', '--disable-renderer-backgrounding',
    '--disable-backgrounding-occluded-windows',
  ],
});
try {
  // One after another: where all of them start at once, each waits for the others' scripts.
  const results = await Promise.all(given.players.map(async (name, i) => {
    await sleep(i * 1000);
    return play(browser, origin, name);
  }));
  for (const result of results) console.log(line(result));
  for (const result of results) console.log(`json ${JSON.stringify(result)}`);
} finally {
  await browser?.close();
  away?.close();
  pages.close();
  pages.closeAllConnections();
}
