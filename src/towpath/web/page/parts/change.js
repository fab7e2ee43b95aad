// Changes of settings: made at once, said, and taken back with one press.

import { toast } from "./toast.js";
import { t } from "./words.js";

/** What takes a setting back to where it is: its value, or null when nobody set it. */
export const asItIs = (setting) => (setting.source === "default" ? null : setting.value);

/**
 * Changes settings (`{key: value}`) and says so; `before` (`{key: value}`, if given) is what `Undo` goes back to.
 * Returns whether they were taken; a refusal is said in the node's words, unless `refused(error)` says it.
 */
export async function change(api, values, before = null, refused = null) {
  let became;
  try {
    became = await api.patch("/v1/settings", values);
  } catch (error) {
    if (refused && error.status) refused(error);
    else toast(error.status ? error.message : t("shell.nobody_answers"));
    return false;
  }
  const words = [became.at_next_start.length ? t("shell.saved_for_restart") : t("shell.saved")];
  const overridden = Object.values(became.overridden ?? {});
  if (overridden.length) words.push(t("shell.overridden", { what: overridden[0] }));
  toast(words.join(" "), before && (() => change(api, before)));
  return true;
}
