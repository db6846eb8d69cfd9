// The player page of one stream: plays the `live.flv` beside it close to live, says in words what is wrong, and comes back by itself.
//
// Nothing here becomes HTML: texts are set as textContent. `window.millstream` shows the state to tests and to the curious.
'use strict';
(() => {
  const RETRY_FIRST_MS = 1000;
  const RETRY_MAX_MS = 8000;
  // A picture that stands still for this long with the page in view is a lost connection that nobody has told us of.
  const STALL_MS = 10000;
  // Beyond MAX the player jumps to REMAIN behind the newest picture; SYNC_* let it catch up unnoticed, by playing a little faster.
  const LATENCY_MAX_S = 2.5;
  const LATENCY_REMAIN_S = 0.5;
  const SYNC_MAX_S = 1.2;
  const SYNC_TARGET_S = 0.7;
  const SYNC_RATE = 1.1;

  const $ = (id) => document.getElementById(id);
  const video = $('video');
  const names = location.pathname.split('/');
  const id = names.length >= 3 ? names[names.length - 2] : '';
  // The page's own query goes along: it may hold a token.
  const source = new URL('live.flv' + location.search, location.href).href;

  let player = null;
  let timer = 0;
  let retryMs = RETRY_FIRST_MS;
  let progress = { time: 0, at: 0 };
  let bits = 0;

  const shown = {
    player: 'mpegts.js ' + (window.mpegts ? mpegts.version : 'missing'),
    state: 'connecting',
    message: '',
    errors: [],
    attempts: 0,
    codecs: '',
    get currentTime() { return video.currentTime; },
    get latency() { return latency(); },
    get bitsPerSecond() { return bits; },
    get frames() { return video.getVideoPlaybackQuality ? video.getVideoPlaybackQuality().totalVideoFrames : 0; },
    get dropped() { return video.getVideoPlaybackQuality ? video.getVideoPlaybackQuality().droppedVideoFrames : 0; },
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

  function latency() {
    const ranges = video.buffered;
    return ranges.length ? ranges.end(ranges.length - 1) - video.currentTime : NaN;
  }

  function discard() {
    clearTimeout(timer);
    if (player) {
      const old = player;
      player = null;
      try { old.destroy(); } catch (error) { note('destroy', error); }
    }
    bits = 0;
  }

  function note(what, detail) {
    shown.errors.push(what + ': ' + (detail && detail.message ? detail.message : String(detail)));
    // The list is for looking at; a page that is open for days must not grow with it.
    if (shown.errors.length > 50) shown.errors.shift();
  }

  // Retries with growing pauses; the pause varies so that a thousand pages do not come back in the same instant.
  function retry(state, message) {
    discard();
    show(state, message);
    timer = setTimeout(connect, retryMs * (0.75 + Math.random() / 2));
    retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
  }

  function giveUp(message) {
    discard();
    show('unsupported', message);
  }

  const codecNames = [
    [/^(hvc1|hev1)/, 'HEVC (H.265)'], [/^av01/, 'AV1'], [/^avc1/, 'H.264'], [/^mp4a/, 'AAC'], [/^opus/i, 'Opus'], [/^vp09/, 'VP9'],
  ];

  function readable(codec) {
    const found = codecNames.find(([pattern]) => pattern.test(codec));
    return found ? found[1] : codec;
  }

  function unsupportedCodec(info) {
    const codecs = [info.videoCodec && ['video', info.videoCodec], info.audioCodec && ['audio', info.audioCodec]].filter(Boolean);
    return codecs.find(([kind, codec]) => !MediaSource.isTypeSupported(kind + '/mp4; codecs="' + codec + '"'));
  }

  function onMediaInfo(info) {
    const codecs = [info.videoCodec, info.audioCodec].filter(Boolean);
    shown.codecs = codecs.join(', ');
    $('codecs').textContent = codecs.map(readable).join(', ') || '–';
    const bad = unsupportedCodec(info);
    if (bad) giveUp('The ' + bad[0] + ' of this stream is ' + readable(bad[1]) + ', which this browser cannot play. Another browser or VLC may.');
  }

  function onError(kind, detail, info) {
    note(kind, detail + (info && info.msg ? ' ' + info.msg : ''));
    const details = mpegts.ErrorDetails;
    const status = info && info.code;
    if (detail === details.NETWORK_STATUS_CODE_INVALID) {
      if (status === 404) retry('waiting', 'This stream is not on air. The page starts it as soon as it is.');
      else if (status === 401 || status === 403) giveUp('You may not watch this stream: its address has no valid permission, or no longer.');
      else retry('lost', 'The server cannot serve this stream now (' + Number(status) + '). Trying again.');
    } else if (detail === details.MEDIA_CODEC_UNSUPPORTED || detail === details.MEDIA_MSE_ERROR) {
      // An MSE error may also be a buffer that was upset by a change in the stream: that heals by starting again.
      const media = player && player.mediaInfo;
      const bad = media && unsupportedCodec(media);
      const said = info && info.msg ? String(info.msg) : '';
      if (bad) onMediaInfo(media);
      else if (detail === details.MEDIA_CODEC_UNSUPPORTED || /type.*(unsupported|not supported)/i.test(said)) {
        giveUp('This stream is in a format that this browser cannot play. Another browser or VLC may.');
      } else retry('lost', 'The picture broke off. Starting again.');
    } else if (kind === mpegts.ErrorTypes.NETWORK_ERROR) {
      retry('lost', 'The connection is lost. Trying again.');
    } else {
      retry('lost', 'The stream could not be read. Starting again.');
    }
  }

  function connect() {
    discard();
    shown.attempts += 1;
    if (shown.state !== 'waiting' && shown.state !== 'lost') show('connecting', '');
    const mine = mpegts.createPlayer(
      { type: 'flv', isLive: true, url: source, cors: true },
      {
        isLive: true,
        enableWorker: false,
        enableStashBuffer: false,
        lazyLoad: false,
        liveBufferLatencyChasing: true,
        liveBufferLatencyMaxLatency: LATENCY_MAX_S,
        liveBufferLatencyMinRemain: LATENCY_REMAIN_S,
        liveSync: true,
        liveSyncMaxLatency: SYNC_MAX_S,
        liveSyncTargetLatency: SYNC_TARGET_S,
        liveSyncPlaybackRate: SYNC_RATE,
        autoCleanupSourceBuffer: true,
        autoCleanupMaxBackwardDuration: 30,
        autoCleanupMinBackwardDuration: 10,
      },
    );
    player = mine;
    progress = { time: -1, at: performance.now() };
    // What an old player still has to say is about a connection that is given up.
    const current = (handler) => (...args) => { if (player === mine) handler(...args); };
    mine.on(mpegts.Events.ERROR, current(onError));
    mine.on(mpegts.Events.MEDIA_INFO, current(onMediaInfo));
    mine.on(mpegts.Events.STATISTICS_INFO, current((info) => { bits = (info.speed || 0) * 8192; }));
    mine.on(mpegts.Events.LOADING_COMPLETE, current(() => retry('waiting', 'The stream has ended. If it comes back, so does the picture.')));
    mine.attachMediaElement(video);
    mine.load();
    play();
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
    } else if (player && shown.state === 'playing' && !video.paused && !document.hidden && now - progress.at > STALL_MS) {
      note('stall', 'no picture for ' + Math.round((now - progress.at) / 1000) + ' s');
      retry('lost', 'Nothing comes any more. Trying again.');
    }
    const delay = latency();
    $('delay').textContent = shown.state === 'playing' && delay >= 0 ? delay.toFixed(1) + ' s' : '–';
    $('rate').textContent = bits > 0 ? (bits / 1e6).toFixed(2) + ' Mbit/s' : '–';
    $('picture').textContent = video.videoWidth ? video.videoWidth + ' × ' + video.videoHeight : '–';
  }

  function showMute() {
    $('unmute').hidden = !$('notice').hidden || !(video.muted || video.volume === 0);
  }

  video.addEventListener('playing', () => {
    retryMs = RETRY_FIRST_MS;
    show('playing', '');
  });
  video.addEventListener('volumechange', showMute);
  // Who pauses a live stream and goes on wants to see what is happening now.
  video.addEventListener('play', () => {
    const ranges = video.buffered;
    if (ranges.length && latency() > LATENCY_MAX_S) video.currentTime = ranges.end(ranges.length - 1) - LATENCY_REMAIN_S;
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
  if (!window.mpegts || !mpegts.getFeatureList().mseLivePlayback) {
    giveUp('This browser cannot play live FLV (it has no Media Source Extensions). VLC can: open the address of live.flv there.');
  } else {
    if (mpegts.LoggingControl) mpegts.LoggingControl.enableAll = false;
    connect();
  }
  setInterval(onProgress, 500);
})();
