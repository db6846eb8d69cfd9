// The way that scales through caches: `live.m3u8`, or `index.m3u8` where the stream has renditions, with low-latency parts, through hls.js, or through the browser's own player on Safari,
// which knows low latency itself. In the past of a stream that is recorded (`page.past`) it plays `dvr.m3u8`, as far behind as the visitor likes.
// Registers itself for `page.js`.
'use strict';
(window.millstreamWays = window.millstreamWays || {}).hls = (() => {
  const TYPE = 'application/vnd.apple.mpegurl';
  // Behind the newest part by more than this after a pause: go to live.
  const LATENCY_MAX_S = 6;
  // What is this many target latencies behind the newest part jumps to live. hls.js itself counts from the newest whole segment and jumps at
  // target durations: between what it catches up with and that, it stayed behind for good.
  const LATENCY_MAX_TARGETS = 2;
  // What plays a little faster is given this long before the next jump.
  const JUMP_EVERY_MS = 3000;
  const settings = {
    lowLatencyMode: true,
    // A stall must not cost a whole target duration of delay for the rest of the visit.
    liveSyncOnStallIncrease: 0.2,
    // Catches up unnoticed.
    maxLiveSyncPlaybackRate: 1.1,
    backBufferLength: 20,
    liveDurationInfinity: true,
    // The page's own security policy allows no worker made of a blob, and fragments that are MP4 already cost next to nothing.
    enableWorker: false,
    enableInterstitialPlayback: false,
    // Whether to try again is the page's to say, in words.
    manifestLoadPolicy: {
      default: { maxTimeToFirstByteMs: 10000, maxLoadTimeMs: 20000, timeoutRetry: null, errorRetry: null },
    },
  };

  // Other browsers than Apple's also say that they play HLS, and not with low latency.
  const native = () => /apple/i.test(navigator.vendor || '') && document.createElement('video').canPlayType(TYPE) !== '';

  const PAST = { backBufferLength: 60, maxLiveSyncPlaybackRate: 1 };
  const source = (page) => (page.past ? 'dvr.m3u8' : page.level ? 'index.m3u8' : 'live.m3u8');
  // Until something has been measured: a rendition that nobody watches has to be made first, so a player begins with the stream itself.
  const LEVELS = { abrEwmaDefaultEstimate: 20e6, abrEwmaDefaultEstimateMax: 20e6 };

  // Which of the player's levels that is: `auto` is none in particular, and the stream itself is the one that is in no folder of its own.
  function levelOf(levels, name) {
    if (name === 'auto') return -1;
    const id = location.pathname.split('/').at(-2);
    const isOf = ({ url }) => {
      const [above, folder] = new URL([].concat(url)[0], location.href).pathname.split('/').slice(-3);
      return name === 'source' ? folder === id && above !== id : folder === name && above === id;
    };
    return levels.findIndex(isOf);
  }

  function openWithLibrary(page) {
    const { video, past } = page;
    // Whatever hls.js asks for, it asks for by the grant of now: only the addresses change.
    const hls = new Hls({ ...settings, ...(past ? PAST : {}), ...(page.level ? LEVELS : {}), xhrSetup: (xhr, address) => xhr.open('GET', page.swap(address), true) });
    let healed = 0;
    let jumped = 0;
    let isThere = !past;

    // From where one may go to where one may go, and the newest.
    function range() {
      const level = hls.levels[hls.currentLevel >= 0 ? hls.currentLevel : hls.loadLevel];
      const details = level && level.details;
      if (!details || !details.fragments.length || !hls.liveSyncPosition) return null;
      return { start: details.fragments[0].start, end: hls.liveSyncPosition };
    }

    // Once the playlist is there: to where the visitor wants to begin.
    function goThere() {
      const known = range();
      if (isThere || !known) return;
      isThere = true;
      video.currentTime = Math.max(known.start + 0.5, known.end - past.behind);
    }

    function catchUp() {
      if (past) return;
      const target = hls.targetLatency;
      const at = performance.now();
      if (!target || !hls.liveSyncPosition || video.paused || video.seeking || at - jumped < JUMP_EVERY_MS) return;
      if (hls.latency > target * LATENCY_MAX_TARGETS && hls.liveSyncPosition > video.currentTime + 0.5) {
        jumped = at;
        page.note('behind', hls.latency.toFixed(1) + ' s, going to ' + target.toFixed(1) + ' s');
        video.currentTime = hls.liveSyncPosition;
      }
    }
    const catching = setInterval(page.current(catchUp), 500);

    function codecs() {
      const level = hls.levels[hls.currentLevel >= 0 ? hls.currentLevel : 0];
      if (!level) return [];
      return [level.videoCodec && ['video', level.videoCodec], level.audioCodec && ['audio', level.audioCodec]].filter(Boolean);
    }

    function onError(_event, data) {
      const status = data.response && data.response.code;
      page.note(data.type + (data.fatal ? ' (fatal)' : ''), data.details + (status ? ' ' + status : '') + (data.reason ? ' ' + data.reason : ''));
      if (!data.fatal) return;
      const { ErrorDetails: details, ErrorTypes: types } = Hls;
      if (data.details === details.MANIFEST_INCOMPATIBLE_CODECS_ERROR) {
        if (page.made(codecs())) page.giveUp('This stream is in a format that this browser cannot play. Another browser or VLC may.');
      } else if (data.type === types.NETWORK_ERROR && status >= 400) {
        page.answered(status);
      } else if (data.type === types.NETWORK_ERROR) {
        page.retry('lost', 'The connection is lost. Trying again.');
      } else if (data.type === types.MEDIA_ERROR && performance.now() - healed > 5000) {
        // A buffer that was upset by a change in the stream heals without a new start, once.
        healed = performance.now();
        hls.recoverMediaError();
      } else {
        page.retry('lost', 'The picture broke off. Starting again.');
      }
    }

    hls.on(Hls.Events.ERROR, page.current(onError));
    hls.on(Hls.Events.MANIFEST_PARSED, page.current(() => {
      if (page.level) {
        const level = levelOf(hls.levels, page.level);
        if (level >= 0) hls.loadLevel = level;
        else hls.startLevel = Math.max(0, levelOf(hls.levels, 'source'));
      }
      page.made(codecs());
      page.play();
    }));
    hls.on(Hls.Events.LEVEL_UPDATED, page.current(goThere));
    const ended = page.current(page.ended);
    video.addEventListener('ended', ended);
    hls.loadSource(page.url(source(page)));
    hls.attachMedia(video);
    // For tests and the curious: the wall-clock date of the picture on the screen.
    window.millstream.hls = hls;

    return {
      name: 'hls.js ' + Hls.version,
      delay: (serverMs) => (hls.playingDate ? (serverMs - hls.playingDate.getTime()) / 1000 : NaN),
      // What the stream has, as its playlist says: what is measured while parts are held back says nothing.
      bits: () => {
        const level = hls.levels[hls.currentLevel];
        return level ? level.averageBitrate || level.bitrate : 0;
      },
      range,
      // With the next segment; false: there is no such level.
      setLevel(name) {
        const level = levelOf(hls.levels, name);
        if (name !== 'auto' && level < 0) return false;
        hls.nextLevel = level;
        return true;
      },
      toLive() {
        if (past) return;
        if (hls.latency > LATENCY_MAX_S && hls.liveSyncPosition) video.currentTime = hls.liveSyncPosition;
      },
      close() {
        clearInterval(catching);
        video.removeEventListener('ended', ended);
        delete window.millstream.hls;
        hls.destroy();
      },
    };
  }

  function openNative(page) {
    const { video, past } = page;
    // Its addresses cannot be changed while it plays: it shows the token itself, which playlists pass on.
    const address = page.plainUrl(source(page));
    // The element says that it failed, not why: ask.
    const failed = page.current(async () => {
      page.note('video', video.error ? video.error.code + ' ' + video.error.message : 'failed');
      try {
        const answer = await fetch(address, { method: 'HEAD', cache: 'no-store' });
        if (!answer.ok) return page.answered(answer.status);
      } catch (error) {
        return page.retry('lost', 'The connection is lost. Trying again.');
      }
      page.retry('lost', 'The picture broke off. Starting again.');
    });
    const ended = page.current(page.ended);
    video.addEventListener('error', failed);
    video.addEventListener('ended', ended);
    video.src = address;
    page.play();
    const edge = () => (video.seekable.length ? video.seekable.end(video.seekable.length - 1) : NaN);
    const range = () => (video.seekable.length ? { start: video.seekable.start(0), end: edge() - 1 } : null);
    const goThere = page.current(() => {
      if (past && range()) video.currentTime = Math.max(range().start + 0.5, range().end - past.behind);
    });
    video.addEventListener('loadedmetadata', goThere);
    return {
      name: 'the browser’s own player',
      // `getStartDate`: Safari's; the date of the element's zero.
      delay(serverMs) {
        const zero = video.getStartDate ? video.getStartDate().getTime() : NaN;
        return (serverMs - zero) / 1000 - video.currentTime;
      },
      bits: () => 0,
      range,
      toLive() { if (!past && edge() - video.currentTime > LATENCY_MAX_S) video.currentTime = edge() - 1; },
      close() {
        video.removeEventListener('loadedmetadata', goThere);
        video.removeEventListener('error', failed);
        video.removeEventListener('ended', ended);
        video.removeAttribute('src');
        video.load();
      },
    };
  }

  return {
    title: 'HLS',
    quietMs: 900,
    probe: async (url) => (await fetch(url('live.m3u8'), { cache: 'no-store' })).ok,
    library: '/.assets/hls-1.7.4.js',
    ready: () => native() || Boolean(window.Hls),
    likely: () => native() || Boolean(window.ManagedMediaSource || window.MediaSource),
    supported: () => native() || Hls.isSupported(),
    unsupported: 'This browser can play HLS neither by itself nor with a script (it has no Media Source Extensions). VLC can: open the address of live.m3u8 there.',
    open: (page) => (native() ? openNative(page) : openWithLibrary(page)),
  };
})();
