// Which circuits are open, kept from look to look: the node is asked for those that are new and for the bytes of the rest.

/** What `api.watch` takes in place of a path; calls back with rows as of /v1/circuits, the same object for a circuit. */
export function openCircuits() {
  const known = new Map();
  let run = 0;
  let highest = 0;
  return {
    name: "/v1/circuits/changes",
    path: () => `/v1/circuits/changes?run=${run}&after=${highest}`,
    take(answer) {
      const now = Date.now() / 1000;
      if (answer.run !== run) {
        known.clear();
        run = answer.run;
        highest = 0;
      }
      for (const row of answer.opened) {
        known.set(row.id, { ...row, opened: now - row.age_s });
        highest = Math.max(highest, row.id);
      }
      const there = new Set();
      for (const [id, bytesIn, bytesOut] of answer.open) {
        const row = known.get(id);
        if (!row) {
          // An answer that was overtaken by another: all of them are asked for anew.
          run = 0;
          continue;
        }
        there.add(id);
        row.bytes_in = bytesIn;
        row.bytes_out = bytesOut;
        row.age_s = Math.max(0, now - row.opened);
      }
      for (const id of known.keys()) if (!there.has(id)) known.delete(id);
      return [...known.values()];
    },
  };
}
