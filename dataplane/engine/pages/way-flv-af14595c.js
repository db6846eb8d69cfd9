// The quickest way: `live.flv` through mpegts.js and Media Source Extensions, under a second behind. Registers itself for `page.js`.
'use strict';
(window.millstreamWays = window.millstreamWays || {}).flv = (() => {
  // Beyond MAX the player jumps to REMAIN behind the newest picture.
  const LATENCY_MAX_S = 2.5;
  const LATENCY_REMAIN_S = 0.5;
  // Seconds of what has been shown that are kept.
  const KEPT_S = 30;
  // It catches up unnoticed, by playing a little faster, to TARGET: more by STEP, up to TARGET_MAX, with each time that it ran dry, and again less
  // after CALM without.
  const TARGET_S = 0.5;
  const TARGET_MAX_S = 1.5;
  const STEP_S = 0.25;
  const SLACK_S = 0.2;
  const CALM_MS = 60000;
  const RATE = 1.1;
  const RATE_FAR = 1.2;
  const FAR_S = 0.8;
  // Key frames whose time of arrival is remembered.
  const CLOCKS = 5;
  // A stream that still comes after FLOWS, and within PROBE, can be played.
  const PROBE_MS = 5000;
  const PROBE_FLOWS_MS = 1500;

  // A rendition is a stream of its own; left to choose, this player plays the stream itself.
  const file = ({ level }) => (level && level !== 'auto' && level !== 'source' ? level + '/live.flv' : 'live.flv');

  function open(page) {
    const { video } = page;
    let bits = 0;
    // By how much the server's clock was ahead of the stream's timeline when key frames reached it, milliseconds: of the newest few.
    let ahead = [];
    // The publisher has gone: that the picture stops is not the network's doing.
    let away = false;

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
      away = news[0] === 'waiting';
      if (away) ahead = [];
      if (news[0] === 'clock' || news[0] === 'waiting') page.onAir(news[0] === 'clock');
    }

    const latency = () => {
      const ranges = video.buffered;
      return ranges.length ? ranges.end(ranges.length - 1) - video.currentTime : NaN;
    };

    let target = TARGET_S;
    let calmSince = performance.now();

    const crossHoles = window.millstreamHoles(video);

    function sync() {
      crossHoles();
      const at = performance.now();
      if (at - calmSince > CALM_MS && target > TARGET_S) [target, calmSince] = [target - STEP_S, at];
      const behind = latency() - target;
      if (behind <= 0) video.playbackRate = 1;
      else if (behind > FAR_S) video.playbackRate = RATE_FAR;
      else if (behind > SLACK_S) video.playbackRate = RATE;
    }

    const ranDry = page.current(() => {
      if (away || video.seeking || video.currentTime === 0) return;
      [target, calmSince] = [Math.min(target + STEP_S, TARGET_MAX_S), performance.now()];
    });
    const syncing = setInterval(page.current(sync), 200);
    video.addEventListener('waiting', ranDry);

    function onError(kind, detail, info) {
      const said = info && info.msg ? String(info.msg) : '';
      if (detail === mpegts.ErrorDetails.MEDIA_MSE_ERROR && /limit of SourceBuffer/i.test(said)) return page.again();
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

    const player = window.millstreamFlv(page.url(file(page)), { maxS: LATENCY_MAX_S, remainS: LATENCY_REMAIN_S, keptS: KEPT_S });
    // Later, since mpegts.js goes on with itself in the call that reports an error, and what answers an error may destroy it.
    const failed = page.current(onError);
    player.on(mpegts.Events.ERROR, (...about) => setTimeout(failed, 0, ...about));
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
      close() {
        clearInterval(syncing);
        video.removeEventListener('waiting', ranDry);
        video.playbackRate = 1;
        player.destroy();
      },
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
