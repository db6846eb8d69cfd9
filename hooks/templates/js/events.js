// Writes what happens to its log, and puts a marker into a stream when its publisher comes.
import { count, log } from "millstream:hooks/host@0.1.0";

export const meta = {
  describe: () => ({ name: "{{NAME}}", version: "0.1.0", settings: [], extra: [] }),
  checkConfig() {},
};

export const events = {
  onNotices(notices) {
    const orders = [];
    for (const { kind, target } of notices) {
      log("info", `${kind} of ${target.app}/${target.name}`);
      count("notices", 1);
      if (kind === "publish-start") {
        const detail = [{ name: "said", value: "hello" }];
        orders.push({ kind: "marker", app: target.app, name: target.name, detail });
      }
    }
    return orders;
  },
};
