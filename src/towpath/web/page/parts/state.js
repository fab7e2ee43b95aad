// The relay's state in words: what it is doing, why, since when and until when.

import { duration, moment } from "../format.js";
import { capital, t } from "./words.js";

/** Is the relay in place, but nobody from outside can come to it? */
const unreachable = (status) => status.mode !== "client" && status.reachability === "unreachable";

/** `{lamp, title, detail}` of a status: a class of the lamp, a sentence, and what explains it. */
export function stateInWords(status) {
  const why = status.why ? capital(status.why) : "";
  switch (status.state) {
    case "relaying": {
      if (unreachable(status))
        return { lamp: "wait", title: t("state.unreachable"), detail: t("state.unreachable_detail") };
      const detail = status.why && status.why !== "relay mode is on" ? `${why}.` : "";
      if (status.circuits_now > 0) return { lamp: "busy", title: t("state.busy", { n: status.circuits_now }), detail };
      if (detail) return { lamp: "wait", title: t("state.ready_not"), detail };
      return {
        lamp: "ready",
        title: t("state.ready"),
        detail: status.reservations_now > 0 ? t("state.held", { n: status.reservations_now }) : "",
      };
    }
    case "waiting":
      return { lamp: "wait", title: t("state.waiting"), detail: `${why}.` };
    case "draining":
      return { lamp: "wait", title: t("state.draining", { n: status.circuits_now }), detail: `${why}.` };
    case "paused":
      return { lamp: "wait", title: t("state.paused"), detail: status.until ? "" : t("state.paused_for_good") };
    default:
      return {
        lamp: "off",
        title: t("state.off"),
        detail: status.mode === "client" ? t("state.off_detail") : `${why}.`,
      };
  }
}

/** `since 14:05 (2 h), until 18:00`, as far as either is known. */
export function sinceInWords(status, now = Date.now() / 1000) {
  const parts = [];
  if (status.since)
    parts.push(t("state.since", { moment: moment(status.since), duration: duration(Math.max(0, now - status.since)) }));
  if (status.until) parts.push(t("state.until", { moment: moment(60 * Math.round(status.until / 60)) }));
  return capital(parts.join(", "));
}
