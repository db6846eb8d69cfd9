// The quickest way: `live.flv` through mpegts.js and Media Source Extensions, under a second behind. Registers itself for `page.js`.
'use strict';
(window.millstreamWays = window.millstreamWays || {}).flv = (() => {
  // Beyond MAX the player jumps to REMAIN behind the newest picture; SYNC_* let it catch up unnoticed, by playing a little faster.
  const LATENCY_MAX_S = 2.5;
  const LATENCY_REMAIN_S = 0.5;
  const SYNC_MAX_S = 1.2;
  const SYNC_TARGET_S = 0.7;
  const SYNC_RATE = 1.1;
  // Key frames whose time of arrival is remembered.
  const CLOCKS = 5;
  // A stream that still comes after FLOWS, and within PROBE, can be played.
  const PROBE_MS = 5000;
  const PROBE_FLOWS_MS = 1500;

  function open(page) {
    const { video } = page;
    let bits = 0;
    // By how much the server's clock was ahead of the stream's timeline when key frames reached it, milliseconds: of the newest few.
    let ahead = [];

    // From the stream's timeline to the element's, which begins with the first frame that this viewer got: mpegts.js says it nowhere else.
    function timelineStartMs() {
      try {
        return player._player_engine._transmuxer._controller._remuxer.getTimestampBase();
      } catch (error) {
        return undefined;
      }
    }

    function delay(serverMs) {
      const startMs = timelineStartMs();
      if (!ahead.length || startMs === undefined) return NaN;
      // One that was held up on its way says nothing of the others.
      return (serverMs - Math.min(...ahead) - video.currentTime * 1000 - startMs) / 1000;
    }

    // `onCuePoint`: `["clock", pts, unix]` or `["waiting", unix]`.
    function onScript(script) {
      const news = script && script.onCuePoint;
      if (!Array.isArray(news)) return;
      if (news[0] === 'clock') ahead = [...ahead.slice(1 - CLOCKS), news[2] - news[1]];
      if (news[0] === 'waiting') ahead = [];
      if (news[0] === 'clock' || news[0] === 'waiting') page.onAir(news[0] === 'clock');
    }

    const latency = () => {
      const ranges = video.buffered;
      return ranges.length ? ranges.end(ranges.length - 1) - video.currentTime : NaN;
    };

    function onError(kind, detail, info) {
      const said = info && info.msg ? String(info.msg) : '';
      page.note(kind, detail + (said ? ' ' + said : ''));
      const details = mpegts.ErrorDetails;
      if (detail === details.NETWORK_STATUS_CODE_INVALID) {
        page.answered(info && info.code);
      } else if (detail === details.MEDIA_CODEC_UNSUPPORTED || detail === details.MEDIA_MSE_ERROR) {
        // An MSE error may also be a buffer that was upset by a change in the stream: that heals by starting again.
        const media = player.mediaInfo;
        if (media && !page.made(codecs(media))) return;
        if (detail === details.MEDIA_CODEC_UNSUPPORTED || /type.*(unsupported|not supported)/i.test(said)) {
          page.giveUp('This stream is in a format that this browser cannot play. Another browser or VLC may.');
        } else page.retry('lost', 'The picture broke off. Starting again.');
      } else if (kind === mpegts.ErrorTypes.NETWORK_ERROR) {
        page.retry('lost', 'The connection is lost. Trying again.');
      } else {
        page.retry('lost', 'The stream could not be read. Starting again.');
      }
    }

    function codecs(info) {
      return [info.videoCodec && ['video', info.videoCodec], info.audioCodec && ['audio', info.audioCodec]].filter(Boolean);
    }

    if (mpegts.LoggingControl) mpegts.LoggingControl.enableAll = false;
    const player = mpegts.createPlayer(
      { type: 'flv', isLive: true, url: page.url('live.flv'), cors: true },
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
    player.on(mpegts.Events.ERROR, page.current(onError));
    player.on(mpegts.Events.MEDIA_INFO, page.current((info) => page.made(codecs(info))));
    player.on(mpegts.Events.STATISTICS_INFO, (info) => { bits = (info.speed || 0) * 8192; });
    player.on(mpegts.Events.SCRIPTDATA_ARRIVED, page.current(onScript));
    player.on(mpegts.Events.LOADING_COMPLETE, page.current(page.ended));
    player.attachMediaElement(video);
    player.load();
    page.play();

    return {
      name: 'mpegts.js ' + mpegts.version,
      delay,
      bits: () => bits,
      toLive() {
        const ranges = video.buffered;
        if (ranges.length && latency() > LATENCY_MAX_S) video.currentTime = ranges.end(ranges.length - 1) - LATENCY_REMAIN_S;
      },
      close: () => player.destroy(),
    };
  }

  // Whether the stream comes as it is made: a proxy that gathers answers gives nothing, or all at once and then nothing for long.
  async function probe(url) {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), PROBE_MS);
    try {
      const answer = await fetch(url('live.flv'), { cache: 'no-store', signal: controller.signal });
      if (!answer.ok || !answer.body) return false;
      const reader = answer.body.getReader();
      const began = performance.now();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return false;
        if (value.length && performance.now() - began > PROBE_FLOWS_MS) return true;
      }
    } finally {
      clearTimeout(timer);
      controller.abort();
    }
  }

  return {
    title: 'HTTP-FLV',
    // Nothing new for this long: something may be wrong.
    quietMs: 700,
    probe,
    library: '/.assets/mpegts-1.8.2.js',
    ready: () => Boolean(window.mpegts),
    // Before the library is there: whether it is worth loading.
    likely: () => Boolean(window.MediaSource && window.fetch && window.ReadableStream),
    supported: () => mpegts.getFeatureList().mseLivePlayback,
    unsupported: 'This browser cannot play live FLV (it has no Media Source Extensions). VLC can: open the address of live.flv there.',
    open,
  };
})();
