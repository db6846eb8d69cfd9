// Tells when a picture becomes dark, and when it is bright again. An interpreter takes milliseconds for a frame: ask for small ones.
let isDark = false;

export const meta = {
  describe: () => ({ name: "{{NAME}}", version: "0.1.0", settings: [], extra: [] }),
  checkConfig() {},
};

export const motion = {
  start() {
    isDark = false;
    return { width: 32, height: 18, fps: 2 };
  },
  // One instance sees all frames of a stream, so it can remember. Changes are told, not states.
  onFrame(luma) {
    let sum = 0;
    for (const pixel of luma) sum += pixel;
    const mean = sum / luma.length;
    const was = isDark;
    isDark = mean < 24 || (was && mean <= 32);
    if (isDark === was) return undefined;
    return { active: isDark, score: 1 - mean / 255, regions: [], label: "dark", extra: [] };
  },
};
