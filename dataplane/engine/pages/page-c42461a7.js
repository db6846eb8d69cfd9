// What all player pages share: it opens the stream beside it in one of several ways, says in words what is wrong, and comes back by itself.
//
// A way (`way-flv`, `way-hls`, `way-dash`) registers itself in `window.millstreamWays` before this runs. The page's body says which one it
// plays; `auto` takes the quickest that this browser can play and that the server has. Nothing here becomes HTML: texts are set as
// textContent. `window.millstream` shows the state to tests and to the curious.
'use strict';
(() => {
  const RETRY_FIRST_MS = 1000;
  const RETRY_MAX_MS = 8000;
  // A picture that stands still for this long with the page in view is a lost connection that nobody has told us of.
  const STALL_MS = 10000;
  // The quickest first.
  const ORDER = ['flv', 'hls', 'dash'];

  const $ = (id) => document.getElementById(id);
  const video = $('video');
  const names = location.pathname.split('/');
  const id = names.length >= 3 ? names[names.length - 2] : '';
  const ways = window.millstreamWays || {};
  const asked = document.body.dataset.way;

  let candidates = [];
  let way = null;
  let playing = null;
  let visit = 0;
  let timer = 0;
  let retryMs = RETRY_FIRST_MS;
  let progress = { time: 0, at: 0 };

  const quality = () => (video.getVideoPlaybackQuality ? video.getVideoPlaybackQuality() : null);
  const shown = {
    way: '',
    player: '',
    state: 'connecting',
    message: '',
    errors: [],
    attempts: 0,
    codecs: '',
    get currentTime() { return video.currentTime; },
    get latency() { return playing ? playing.latency() : NaN; },
    get bitsPerSecond() { return playing ? playing.bits() : 0; },
    get frames() { return quality() ? quality().totalVideoFrames : 0; },
    get dropped() { return quality() ? quality().droppedVideoFrames : 0; },
  };
  window.millstream = shown;

  const badges = {
    connecting: 'connecting', playing: 'live', waiting: 'not on air', lost: 'reconnecting', unsupported: 'cannot play', blocked: 'paused',
  };

  function show(state, message) {
    shown.state = state;
    shown.message = message || '';
    $('badge').dataset.state = state;
    $('badge').textContent = badges[state];
    $('message').textContent = shown.message;
    $('notice').hidden = !shown.message;
    showMute();
    $('retry').hidden = state === 'playing' || state === 'connecting';
  }

  function note(what, detail) {
    shown.errors.push(what + ': ' + (detail && detail.message ? detail.message : String(detail)));
    // The list is for looking at; a page that is open for days must not grow with it.
    if (shown.errors.length > 50) shown.errors.shift();
  }

  function discard() {
    clearTimeout(timer);
    visit += 1;
    if (playing) {
      const old = playing;
      playing = null;
      try { old.close(); } catch (error) { note('close', error); }
    }
  }

  // Retries with growing pauses; the pause varies so that a thousand pages do not come back in the same instant.
  function retry(state, message) {
    discard();
    show(state, message);
    // What one way does not find another may: a stream's record can switch outputs off.
    if (state === 'waiting' && candidates.length > 1) candidates.push(candidates.shift());
    timer = setTimeout(connect, retryMs * (0.75 + Math.random() / 2));
    retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
  }

  // This way leads nowhere in this browser.
  function giveUp(message) {
    discard();
    if (candidates.length > 1) {
      candidates.shift();
      return connect();
    }
    show('unsupported', message);
  }

  // What an HTTP status means to a visitor.
  function answered(status) {
    if (status === 404) retry('waiting', 'This stream is not on air. The page starts it as soon as it is.');
    else if (status === 401 || status === 403) giveUp('You may not watch this stream: its address has no valid permission, or no longer.');
    else retry('lost', 'The server cannot serve this stream now (' + Number(status) + '). Trying again.');
  }

  const codecNames = [
    [/^(hvc1|hev1)/, 'HEVC (H.265)'], [/^av01/, 'AV1'], [/^avc1/, 'H.264'], [/^mp4a/, 'AAC'], [/^opus/i, 'Opus'], [/^vp09/, 'VP9'],
  ];

  function readable(codec) {
    const found = codecNames.find(([pattern]) => pattern.test(codec));
    return found ? found[1] : codec;
  }

  // Says what the stream is made of; whether this browser can play it. `codecs`: names as in RFC 6381, each with 'video' or 'audio'.
  function made(codecs) {
    const source = window.ManagedMediaSource || window.MediaSource;
    shown.codecs = codecs.map(([, codec]) => codec).join(', ');
    $('codecs').textContent = codecs.map(([, codec]) => readable(codec)).join(', ') || '–';
    const bad = source && codecs.find(([kind, codec]) => !source.isTypeSupported(kind + '/mp4; codecs="' + codec + '"'));
    if (!bad) return true;
    giveUp('The ' + bad[0] + ' of this stream is ' + readable(bad[1]) + ', which this browser cannot play. Another browser or VLC may.');
    return false;
  }

  function load(script) {
    return new Promise((done, failed) => {
      const element = document.createElement('script');
      element.src = script;
      element.onload = done;
      element.onerror = () => { element.remove(); failed(new Error(script + ' does not load')); };
      document.head.append(element);
    });
  }

  async function connect() {
    discard();
    const mine = visit;
    way = ways[candidates[0]];
    shown.attempts += 1;
    shown.way = candidates[0] || '';
    if (shown.state !== 'waiting' && shown.state !== 'lost') show('connecting', '');
    markChoice();
    if (!way) return show('unsupported', 'This browser can play none of the formats of this stream. VLC can: open the address of live.flv or live.m3u8 there.');
    // What an old player still has to say is about a connection that is given up.
    const current = (act) => (...args) => (mine === visit ? act(...args) : undefined);
    try {
      if (!way.ready()) await load(way.library);
      if (mine !== visit) return;
      if (!way.supported()) return giveUp(way.unsupported);
      progress = { time: -1, at: performance.now() };
      playing = way.open({
        video,
        // The page's own query goes along: it may hold a token.
        url: (name) => new URL(name + location.search, location.href).href,
        retry: current(retry),
        giveUp: current(giveUp),
        answered: current(answered),
        made: current(made),
        note,
        current,
        play,
      });
      shown.player = playing.name;
    } catch (error) {
      note('open', error);
      if (mine === visit) retry('lost', 'The player could not be started. Trying again.');
    }
  }

  function play() {
    const started = video.play();
    if (!started) return;
    started.catch((error) => {
      // A browser that forbids even muted autoplay wants a click; anything else is told by the player's own events.
      if (error.name === 'NotAllowedError') show('blocked', 'Press play to start.');
    });
  }

  function onProgress() {
    const now = performance.now();
    if (video.currentTime !== progress.time) {
      progress = { time: video.currentTime, at: now };
    } else if (playing && shown.state === 'playing' && !video.paused && !document.hidden && now - progress.at > STALL_MS) {
      note('stall', 'no picture for ' + Math.round((now - progress.at) / 1000) + ' s');
      retry('lost', 'Nothing comes any more. Trying again.');
    }
    const delay = shown.latency;
    const bits = shown.bitsPerSecond;
    $('delay').textContent = shown.state === 'playing' && delay >= 0 ? delay.toFixed(1) + ' s' : '–';
    $('rate').textContent = bits > 0 ? (bits / 1e6).toFixed(2) + ' Mbit/s' : '–';
    $('picture').textContent = video.videoWidth ? video.videoWidth + ' × ' + video.videoHeight : '–';
  }

  function showMute() {
    $('unmute').hidden = !$('notice').hidden || !(video.muted || video.volume === 0);
  }

  // The page that offers a choice has a button for each way, and one for none in particular.
  function markChoice() {
    for (const button of document.querySelectorAll('[data-choose]')) {
      const chosen = button.dataset.choose === (candidates.length > 1 ? 'auto' : candidates[0]);
      button.setAttribute('aria-pressed', String(chosen));
    }
    if ($('way')) $('way').textContent = way ? way.title : '–';
  }

  function choose(name) {
    candidates = name === 'auto' ? ORDER.filter((one) => ways[one] && ways[one].likely()) : [name];
    retryMs = RETRY_FIRST_MS;
    shown.state = 'connecting';
    connect();
  }

  video.addEventListener('playing', () => {
    retryMs = RETRY_FIRST_MS;
    show('playing', '');
  });
  video.addEventListener('volumechange', showMute);
  video.addEventListener('play', () => {
    // Who pauses a live stream and goes on wants to see what is happening now.
    if (playing) playing.toLive();
    if (shown.state === 'blocked') show('connecting', '');
  });
  $('unmute').addEventListener('click', () => {
    video.muted = false;
    if (video.volume === 0) video.volume = 1;
    if (video.paused) play();
    video.focus();
  });
  $('retry').addEventListener('click', () => {
    if (shown.state === 'blocked') return play();
    retryMs = RETRY_FIRST_MS;
    connect();
  });
  for (const button of document.querySelectorAll('[data-choose]')) {
    button.addEventListener('click', () => choose(button.dataset.choose));
  }
  window.addEventListener('online', () => { if (shown.state === 'lost') connect(); });
  window.addEventListener('pagehide', discard);
  window.addEventListener('pageshow', (event) => { if (event.persisted) connect(); });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'm' && !event.ctrlKey && !event.metaKey && !event.altKey) video.muted = !video.muted;
  });

  if (id) {
    $('name').textContent = id;
    document.title = id + ' · live';
  }
  video.muted = true;
  showMute();
  choose(asked);
  setInterval(onProgress, 500);
})();
