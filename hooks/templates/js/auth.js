// Lets viewers in who bring the right ticket: ?ticket=... in the play URL. Publishers are left to the next step.
import { config, log } from "millstream:hooks/host@0.1.0";

export const meta = {
  describe() {
    const ticket = { name: "ticket", about: "What viewers must bring.", kind: "text", required: true, extra: [] };
    return { name: "{{NAME}}", version: "0.1.0", settings: [ticket], extra: [] };
  },
  checkConfig() {
    if (!config("ticket")) throw "set ticket to what viewers must bring";
  },
};

export const auth = {
  authorize(request) {
    if (request.action !== "play") return { tag: "next" };
    const ticket = request.target.params.find((pair) => pair.name === "ticket")?.value;
    if (ticket && ticket === config("ticket")) {
      return { tag: "allow", val: { recheckMs: 0, validMs: 0, slots: [], labels: [], extra: [] } };
    }
    log("info", `${request.client.ip} has no right ticket`);
    return { tag: "deny", val: { why: "unauthenticated", reason: "this stream needs a ticket" } };
  },
  // For hooks that answer "ask": the upstream has answered.
  resume() {
    return { tag: "next" };
  },
};
