// The way of DASH players: `manifest.mpd`, or `index.mpd` where the stream has renditions, through dash.js, some seconds behind. Registers itself for `page.js`.
'use strict';
(window.millstreamWays = window.millstreamWays || {}).dash = (() => {
  // Segments are whole before they are listed, so the newest two of them are the least that a player can sit on.
  const LIVE_DELAY_S = 4;
  const LATENCY_MAX_S = 10;
  // Until something has been measured: a rendition that nobody watches has to be made first, so a player begins with the stream itself.
  const FIRST_KBIT_S = 20000;
  const settings = {
    debug: { logLevel: 0 },
    streaming: {
      delay: { liveDelay: LIVE_DELAY_S, useSuggestedPresentationDelay: false },
      liveCatchup: { enabled: true, maxDrift: 4, playbackRate: { min: -0.1, max: 0.1 } },
      buffer: { bufferTimeDefault: LIVE_DELAY_S, bufferToKeep: 20, bufferPruningInterval: 10 },
      // The page says what is wrong and tries again itself.
      retryAttempts: { MPD: 1 },
      text: { defaultEnabled: false },
    },
  };

  function open(page) {
    const { video } = page;
    const source = page.url(page.level ? 'index.mpd' : 'manifest.mpd');
    // It leaves a listener for `canplay` behind that fails when the next player has something to show: what it adds goes with it.
    const added = [];
    video.addEventListener = (type, listener, options) => {
      if (type === 'canplay') added.push(listener);
      EventTarget.prototype.addEventListener.call(video, type, listener, options);
    };
    const player = dashjs.MediaPlayer().create();
    player.updateSettings(settings);
    if (page.level) player.updateSettings({ streaming: { abr: { initialBitrate: { video: FIRST_KBIT_S } } } });
    player.addRequestInterceptor((request) => {
      request.url = page.swap(request.url);
      return Promise.resolve(request);
    });

    function codecs() {
      const all = [];
      for (const kind of ['video', 'audio']) {
        const track = player.getCurrentTrackFor(kind);
        const found = track && track.codec && /codecs="([^"]+)"/.exec(track.codec);
        if (found) all.push([kind, found[1]]);
      }
      return all;
    }

    const onError = page.current(async (event) => {
      const error = event.error || {};
      page.note('dash', (error.code || '') + ' ' + (error.message || error));
      if (error.code === dashjs.MediaPlayer.errors.MEDIASOURCE_TYPE_UNSUPPORTED_CODE) {
        return page.giveUp('This stream is in a format that this browser cannot play. Another browser or VLC may.');
      }
      // It says that the manifest is not to be had, not why: ask.
      try {
        const answer = await fetch(page.swap(source), { method: 'HEAD', cache: 'no-store' });
        if (!answer.ok) return page.answered(answer.status);
      } catch (failure) {
        return page.retry('lost', 'The connection is lost. Trying again.');
      }
      page.retry('lost', 'The picture broke off. Starting again.');
    });
    const { events } = dashjs.MediaPlayer;
    player.on(events.ERROR, onError);
    // The stream itself is the representation `v`; the others have their renditions' names. False: there is no such level.
    function setLevel(name) {
      const id = name === 'source' ? 'v' : name;
      const isAuto = name === 'auto';
      if (!isAuto && !player.getRepresentationsByType('video').some((one) => one.id === id)) return false;
      player.updateSettings({ streaming: { abr: { autoSwitchBitrate: { video: isAuto } } } });
      if (!isAuto) player.setRepresentationForTypeById('video', id);
      return true;
    }
    player.on(events.STREAM_INITIALIZED, page.current(() => {
      if (page.level && page.level !== 'auto') setLevel(page.level);
      page.made(codecs());
    }));
    const ended = page.current(page.ended);
    video.addEventListener('ended', ended);
    // It starts the element itself, and reloads the manifest only if it has seen that.
    player.on(events.PLAYBACK_NOT_ALLOWED, page.current(page.play));
    player.initialize(video, source, true);

    return {
      name: 'dash.js ' + dashjs.Version,
      // By the manifest's clock, which dash.js has aligned with the server's itself.
      delay: () => (player.isReady() && player.isDynamic() ? player.getCurrentLiveLatency() : NaN),
      bits: () => {
        const all = ['video', 'audio'].map((kind) => (player.isReady() ? player.getCurrentRepresentationForType(kind) : null));
        return all.reduce((sum, one) => sum + (one ? one.bandwidth || 0 : 0), 0);
      },
      setLevel: (name) => player.isReady() && setLevel(name),
      toLive() {
        if (player.isReady() && player.isDynamic() && player.getCurrentLiveLatency() > LATENCY_MAX_S) player.seekToOriginalLive();
      },
      close() {
        video.removeEventListener('ended', ended);
        player.destroy();
        delete video.addEventListener;
        for (const listener of added) video.removeEventListener('canplay', listener);
      },
    };
  }

  return {
    title: 'DASH',
    // Segments come whole: their coming says too little.
    quietMs: 3000,
    pollMs: 1000,
    probe: async (url) => (await fetch(url('manifest.mpd'), { cache: 'no-store' })).ok,
    library: '/.assets/dash-5.2.1.js',
    ready: () => Boolean(window.dashjs),
    likely: () => Boolean(window.ManagedMediaSource || window.MediaSource),
    supported: () => Boolean(window.ManagedMediaSource || window.MediaSource),
    unsupported: 'This browser cannot play DASH (it has no Media Source Extensions). VLC can: open the address of manifest.mpd there.',
    open,
  };
})();
