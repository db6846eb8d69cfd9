// The page of one recording: plays `index.m3u8` beside it from its beginning, through hls.js, or through the browser's own player on Apple's, and
// says in words what is wrong. What the recording is, `recording.json` says. A recording that runs grows while it is watched.
//
// Nothing here becomes HTML: texts are set as textContent. `window.millstream` shows the state to tests and to the curious.
'use strict';
(() => {
  const TYPE = 'application/vnd.apple.mpegurl';
  const RETRY_FIRST_MS = 1000;
  const RETRY_MAX_MS = 8000;
  // How often a recording that runs is asked how far it is.
  const ASK_EVERY_MS = 15000;
  // A buffer that was upset heals without a new start, once in this time.
  const HEAL_EVERY_MS = 5000;
  const settings = {
    lowLatencyMode: false,
    backBufferLength: 60,
    // The page's own security policy allows no worker made of a blob, and fragments that are MP4 already cost next to nothing.
    enableWorker: false,
    enableInterstitialPlayback: false,
  };

  const $ = (id) => document.getElementById(id);
  const video = $('video');
  // `/<id>/rec/<recording>/index.html`, wherever a proxy has put it.
  const [id, , recording] = location.pathname.split('/').slice(-4);
  const grants = window.millstreamGrant({ onDenied: deny, note, inside: 'rec/' + recording + '/' });
  const { url } = grants;

  let playing = null;
  let visit = 0;
  let timer = 0;
  let asking = 0;
  let retryMs = RETRY_FIRST_MS;
  let resumeAt = 0;
  let said = null;
  const shown = {
    state: 'connecting',
    message: '',
    errors: [],
    attempts: 0,
    get currentTime() { return video.currentTime; },
    get duration() { return video.duration; },
    get recording() { return said; },
    get pictures() { return board.cues.length; },
    grants: grants.shown,
  };
  window.millstream = shown;

  const badges = {
    connecting: 'connecting', playing: 'recorded', recording: 'recording', waiting: 'not there', lost: 'reconnecting', unsupported: 'cannot play',
    denied: 'no permission',
  };

  const runs = () => Boolean(said) && ['recording', 'paused', 'waiting'].includes(said.state);

  function show(state, message) {
    shown.state = state === 'playing' && runs() ? 'recording' : state;
    shown.message = message || '';
    // A recording that runs is as good as one that is over.
    $('badge').dataset.state = state;
    $('badge').textContent = badges[shown.state];
    $('message').textContent = shown.message;
    $('notice').hidden = !shown.message;
    $('retry').hidden = !['lost', 'waiting', 'unsupported', 'denied'].includes(state);
  }

  function note(what, detail) {
    shown.errors.push(what + ': ' + (detail && detail.message ? detail.message : String(detail)));
    // The list is for looking at; a page that is open for days must not grow with it.
    if (shown.errors.length > 50) shown.errors.shift();
  }

  function discard() {
    clearTimeout(timer);
    visit += 1;
    if (video.currentTime > 0) resumeAt = video.currentTime;
    if (playing) {
      const old = playing;
      playing = null;
      try { old.close(); } catch (error) { note('close', error); }
    }
  }

  // Retries with growing pauses, where it broke off; the pause varies so that a thousand pages do not come back in the same instant.
  function retry(state, message) {
    discard();
    show(state, message);
    timer = setTimeout(connect, retryMs * (0.75 + Math.random() / 2));
    retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
  }

  function deny() {
    discard();
    show('denied', 'You may not watch this recording: its address has no valid permission, or no longer.');
  }

  // What an HTTP status means to a visitor.
  async function answered(status) {
    if (status === 404) {
      discard();
      show('waiting', 'There is no such recording. It may have been removed.');
    } else if (status === 401 || status === 403) {
      if (!grants.wanted) return deny();
      const mine = visit;
      const state = await grants.renew();
      if (state !== 'denied' && mine === visit) retry('lost', 'The permission to watch is asked for again.');
    } else if (status === 503) retry('lost', 'The server is busy. Trying again.');
    else retry('lost', 'The server cannot serve this recording now (' + Number(status) + '). Trying again.');
  }

  // Other browsers than Apple's also say that they play HLS, and not as well.
  const native = () => /apple/i.test(navigator.vendor || '') && video.canPlayType(TYPE) !== '';

  function openWithLibrary(current) {
    // Whatever hls.js asks for, it asks for by the grant of now: only the addresses change.
    const hls = new Hls({
      ...settings,
      // A playlist that grows is a live one to hls.js, which would begin at its end.
      startPosition: resumeAt,
      xhrSetup: (xhr, address) => xhr.open('GET', grants.swap(address), true),
    });
    let healed = -Infinity;

    function onError(_event, data) {
      const status = data.response && data.response.code;
      note(data.type + (data.fatal ? ' (fatal)' : ''), data.details + (status ? ' ' + status : '') + (data.reason ? ' ' + data.reason : ''));
      if (!data.fatal) return;
      const { ErrorDetails: details, ErrorTypes: types } = Hls;
      if (data.details === details.MANIFEST_INCOMPATIBLE_CODECS_ERROR) {
        discard();
        show('unsupported', 'This recording is in a format that this browser cannot play. Another browser or VLC may.');
      } else if (data.type === types.NETWORK_ERROR && status >= 400) {
        answered(status);
      } else if (data.type === types.NETWORK_ERROR) {
        retry('lost', 'The connection is lost. Trying again.');
      } else if (data.type === types.MEDIA_ERROR && performance.now() - healed > HEAL_EVERY_MS) {
        healed = performance.now();
        hls.recoverMediaError();
      } else {
        retry('lost', 'The picture broke off. Starting again.');
      }
    }

    hls.on(Hls.Events.ERROR, current(onError));
    hls.on(Hls.Events.MANIFEST_PARSED, current(opened));
    hls.loadSource(url('index.m3u8'));
    hls.attachMedia(video);
    shown.hls = hls;
    return { close: () => hls.destroy() };
  }

  function openNative(current) {
    // Its addresses cannot be changed while it plays: it shows the token itself, which playlists pass on.
    const source = new URL('index.m3u8' + location.search, location.href).href;
    // The element says that it failed, not why: ask.
    const failed = current(async () => {
      note('video', video.error ? video.error.code + ' ' + video.error.message : 'failed');
      try {
        const answer = await fetch(source, { method: 'HEAD', cache: 'no-store' });
        if (!answer.ok) return answered(answer.status);
      } catch (error) {
        return retry('lost', 'The connection is lost. Trying again.');
      }
      retry('lost', 'The picture broke off. Starting again.');
    });
    const ready = current(() => {
      if (resumeAt > 0) video.currentTime = resumeAt;
      opened();
    });
    video.addEventListener('error', failed);
    video.addEventListener('loadedmetadata', ready);
    video.src = source;
    return {
      close() {
        video.removeEventListener('error', failed);
        video.removeEventListener('loadedmetadata', ready);
        video.removeAttribute('src');
        video.load();
      },
    };
  }

  function opened() {
    retryMs = RETRY_FIRST_MS;
    show('playing', '');
    describe();
  }

  async function connect() {
    discard();
    const mine = visit;
    if (shown.state !== 'lost') show('connecting', '');
    // Where there is no grant to be had, the token itself goes along.
    if (grants.wanted && (await grants.ready()) === 'denied') return deny();
    if (mine !== visit) return;
    shown.attempts += 1;
    // What an old player still has to say is about a connection that is given up.
    const current = (act) => (...args) => (mine === visit ? act(...args) : undefined);
    if (!native() && !(window.Hls && Hls.isSupported())) {
      return show('unsupported', 'This browser can play HLS neither by itself nor with a script (it has no Media Source Extensions). VLC can: open the address of index.m3u8 there.');
    }
    try {
      playing = native() ? openNative(current) : openWithLibrary(current);
    } catch (error) {
      note('open', error);
      if (mine === visit) retry('lost', 'The player could not be started. Trying again.');
    }
  }

  // Asks what the recording is; again for as long as it runs.
  async function describe() {
    clearTimeout(asking);
    try {
      const answer = await fetch(url('recording.json'), { cache: 'no-store' });
      if (answer.ok) said = await answer.json();
    } catch (error) {
      note('recording.json', error);
    }
    showFigures();
    if (shown.state === 'playing' || shown.state === 'recording') show('playing', '');
    if (runs()) asking = setTimeout(describe, ASK_EVERY_MS);
    else openBoard();
  }

  // Small pictures over the length, which a recording has some time after its end: what is shown at the place under the pointer, and a click goes there.
  const board = { cues: [], wanted: true };

  // Cues of WebVTT whose text is part of a picture: `FILE#xywh=LEFT,TOP,WIDTH,HEIGHT`.
  function readCues(text) {
    const seconds = (clock) => clock.split(':').reduce((sum, part) => sum * 60 + Number(part), 0);
    const cue = /([\d:.]+) --> [\d:.]+\n(thumbnails\/\d+\.jpg)#xywh=(\d+),(\d+),(\d+),(\d+)/g;
    return [...text.matchAll(cue)].map(([, from, file, ...box]) => ({ from: seconds(from), file, box: box.map(Number) }));
  }

  async function openBoard() {
    if (!board.wanted || runs()) return;
    board.wanted = false;
    try {
      const answer = await fetch(url('thumbnails.vtt'));
      if (answer.ok) board.cues = readCues(await answer.text());
    } catch (error) {
      note('thumbnails.vtt', error);
    }
    $('board').hidden = board.cues.length < 2;
  }

  const lengthOf = () => (Number.isFinite(video.duration) ? video.duration : 0);

  function peek(event) {
    const bar = $('seek').getBoundingClientRect();
    const part = Math.min(Math.max((event.clientX - bar.left) / bar.width, 0), 1);
    const cue = board.cues.findLast(({ from }) => from <= part * lengthOf()) || board.cues[0];
    if (!cue) return;
    const [left, top, width, height] = cue.box;
    const style = $('peek').style;
    style.width = width + 'px';
    style.height = height + 'px';
    style.background = 'url("' + url(cue.file) + '") -' + left + 'px -' + top + 'px';
    style.marginLeft = Math.max(0, Math.min(part * bar.width - width / 2, bar.width - width)) + 'px';
    $('peek').hidden = false;
  }

  function clockText(seconds) {
    const whole = Math.round(seconds);
    const two = (n) => String(n).padStart(2, '0');
    return Math.floor(whole / 3600) + ':' + two(Math.floor(whole / 60) % 60) + ':' + two(whole % 60);
  }

  const codecNames = [
    [/^(hvc1|hev1)/, 'HEVC (H.265)'], [/^av01/, 'AV1'], [/^avc1/, 'H.264'], [/^(mp4a\.(69|6b)|\.?mp3)/i, 'MP3'], [/^mp4a/, 'AAC'],
    [/^opus/i, 'Opus'], [/^vp0?9/, 'VP9'], [/^ac-3/, 'AC-3'], [/^ec-3/, 'E-AC-3'], [/^flac/i, 'FLAC'],
  ];

  function readable(codec) {
    const found = codecNames.find(([pattern]) => pattern.test(codec));
    return found ? found[1] : codec;
  }

  function showFigures() {
    const begun = Number(said ? said.start_unix_ms : recording.split('-')[0]);
    $('begun').textContent = begun > 0 ? new Date(begun).toLocaleString() : '–';
    const length = said && said.duration_ms > 0 ? said.duration_ms / 1000 : video.duration;
    $('length').textContent = Number.isFinite(length) && length > 0 ? clockText(length) : '–';
    $('picture').textContent = video.videoWidth ? video.videoWidth + ' × ' + video.videoHeight : '–';
    const codecs = (said && Array.isArray(said.tracks) ? said.tracks : []).flatMap((track) => track.codecs || []);
    $('codecs').textContent = [...new Set(codecs.map((codec) => readable(String(codec))))].join(', ') || '–';
    const gaps = said && Array.isArray(said.gaps) ? said.gaps.length + (said.gaps_left_out || 0) : 0;
    const line = gaps === 1 ? 'A piece of this recording is missing.' : gaps > 1 ? gaps + ' pieces of this recording are missing.' : '';
    $('notes').textContent = line;
    $('notes').hidden = !line;
  }

  video.addEventListener('loadedmetadata', showFigures);
  video.addEventListener('resize', showFigures);
  video.addEventListener('durationchange', showFigures);
  $('seek').style.width = '100%';
  $('seek').addEventListener('pointermove', peek);
  $('seek').addEventListener('pointerleave', () => { $('peek').hidden = true; });
  $('seek').addEventListener('input', () => { video.currentTime = Number($('seek').value) / 1000 * lengthOf(); });
  video.addEventListener('timeupdate', () => {
    if (lengthOf() > 0) $('seek').value = video.currentTime / lengthOf() * 1000;
  });
  $('retry').addEventListener('click', () => {
    retryMs = RETRY_FIRST_MS;
    show('connecting', '');
    connect();
  });
  window.addEventListener('pagehide', discard);
  window.addEventListener('pageshow', (event) => { if (event.persisted) connect(); });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'm' && !event.ctrlKey && !event.metaKey && !event.altKey) video.muted = !video.muted;
  });

  $('name').textContent = id;
  document.title = id + ' · recording';
  document.body.classList.toggle('embed', new URLSearchParams(location.search).get('embed') === '1');
  document.body.classList.add('ready');
  showFigures();
  connect();
})();
