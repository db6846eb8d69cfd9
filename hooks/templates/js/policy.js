// Gives large streams one smaller rendition.
export const meta = {
  describe: () => ({ name: "{{NAME}}", version: "0.1.0", settings: [], extra: [] }),
  checkConfig() {},
};

export const policy = {
  selectRenditions(source) {
    // None: viewers get the stream as it is published.
    if (source.height <= 720) return [];
    const video = { codec: "h264", width: 0, height: 720, fpsNum: 0, fpsDen: 1, kbps: 2800, extra: [] };
    return [{ name: "720p", picture: { tag: "encode", val: video }, sound: { tag: "copy" }, onDemand: true, extra: [] }];
  },
};
