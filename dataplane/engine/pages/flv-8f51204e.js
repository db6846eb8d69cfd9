// What the pages that play FLV share: the player page and the wall.
'use strict';
// The player of one stream: beyond `maxS` it jumps to `remainS` behind the newest picture, and it keeps `keptS` seconds of what has been shown.
window.millstreamFlv = (url, { maxS, remainS, keptS }) => {
  if (mpegts.LoggingControl) mpegts.LoggingControl.enableAll = false;
  return mpegts.createPlayer(
    { type: 'flv', isLive: true, url, cors: true },
    {
      isLive: true,
      enableWorker: false,
      enableStashBuffer: false,
      lazyLoad: false,
      liveBufferLatencyChasing: true,
      liveBufferLatencyMaxLatency: maxS,
      liveBufferLatencyMinRemain: remainS,
      autoCleanupSourceBuffer: true,
      // Cleaning up costs: seldom, and then more at once.
      autoCleanupMaxBackwardDuration: keptS,
      autoCleanupMinBackwardDuration: keptS / 3,
    },
  );
};
// Holes in what a player has buffered. Where the coding changes (another encoder, a slate), mpegts.js appends the last one or two pictures of
// the old coding behind the header of the new one, and the browser drops them: the sound goes on, and the picture stands still at the hole until
// the player happens to seek. Gives a function to call a few times a second: it takes the element across each hole once, as soon as what is
// before the hole has been shown.
window.millstreamHoles = (video) => {
  const BEFORE_S = 0.1;
  const BEHIND_S = 0.01;
  let crossed = -1;
  return () => {
    const { buffered, currentTime, seeking } = video;
    if (seeking) return;
    for (let i = buffered.length - 1; i > 0; i -= 1) {
      const start = buffered.start(i);
      if (start <= crossed) return;
      if (currentTime < buffered.end(i - 1) - BEFORE_S) continue;
      crossed = start;
      // The sound may be beyond it already; the picture needs the seek all the same.
      video.currentTime = Math.max(currentTime, start + BEHIND_S);
      return;
    }
  };
};
