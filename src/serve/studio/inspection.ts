/** What `inspect` says of a model, for the page, and whether it fits beside what is open. */
import { inspectModel } from "../../pretrained/inspection.ts";
import { locateModel } from "../../pretrained/node-load.ts";
import { bytesNeeded } from "./model-facts.ts";
import type { StoredModels } from "./model-list.ts";
import type { OpenModels } from "./open-models.ts";
import type { Inspection } from "./protocol.ts";

/** @throws ApiError 404, ConfigError and FormatError for files that are no model */
export async function inspection(model: string, stored: StoredModels, open: OpenModels): Promise<Inspection> {
  const { path } = await stored.find(model);
  const { total, available } = open.memory();
  const place = await locateModel(path, { offline: true, download: false });
  const { inspection: found } = await inspectModel(place, { total, free: available }, () => {});
  const needed = await bytesNeeded(path, {});
  // Where it is on this machine the page does not need to know.
  const report = { ...found, folder: model };
  return { model, report, fits: { yes: open.isTaken(model) || needed <= available, needed, available } };
}
