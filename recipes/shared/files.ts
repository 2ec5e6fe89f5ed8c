/** What belongs to a model of the world besides its weights, in the official layout. */
import { worldTokenizer } from "../../src/data/world/vocabulary.ts";
import { type WorldPresetName, worldPresets } from "../../src/models/world-presets.ts";

const HALF = [0.5, 0.5, 0.5];
/** Of small models of Janus: at 5, the usual one, shapes come loosely as often, and clean ones a ninth as often. */
const GUIDANCE = 2;

/** `processor_config.json` of world-vl2. */
export function worldProcessor() {
  return {
    processor_class: "DeepseekVLV2Processor",
    candidate_resolutions: worldPresets["world-vl2"].candidate_resolutions,
    ...{ patch_size: 8, downsample_ratio: 2, normalize: true, image_mean: HALF, image_std: HALF },
    ...{ image_token: "<image>", pad_token: "<\uFF5C\u2581pad\u2581\uFF5C>", add_special_token: false },
    ...{ sft_format: "deepseek", mask_prompt: true, ignore_id: -100 },
  };
}

/** `preprocessor_config.json` of world-vl, and of the hybrid one, whose towers normalize by themselves. */
export function canvasSettings(preset: Exclude<WorldPresetName, "world-vl2">) {
  const hybrid = preset === "world-vl-hybrid";
  return {
    image_processor_type: "VLMImageProcessor",
    ...{ image_size: hybrid ? 192 : 64, min_size: 8, do_normalize: !hybrid },
    ...{ image_mean: HALF, image_std: HALF, rescale_factor: 1 / 255 },
  };
}

/** All files of a model but its weights and `config.json`, by name. */
export function worldFiles(preset: WorldPresetName): Record<string, string> {
  const tiled = preset === "world-vl2";
  const draws = preset === "world-janus" || preset === "world-flow";
  const { tokenizer, config } = worldTokenizer({ image: tiled ? "<image>" : "<image_placeholder>" });
  const files: Record<string, unknown> = { "tokenizer.json": tokenizer, "tokenizer_config.json": config };
  if (preset === "world-janus") files["generation_config.json"] = { guidance_scale: GUIDANCE };
  if (tiled) files["processor_config.json"] = worldProcessor();
  else {
    files["preprocessor_config.json"] = canvasSettings(preset);
    files["processor_config.json"] = {
      processor_class: "VLChatProcessor",
      ...{ image_tag: "<image_placeholder>", num_image_tokens: 64, sft_format: "deepseek" },
      ...(draws && {
        ...{ image_start_tag: "<begin_of_image>", image_end_tag: "<end_of_image>" },
        pad_tag: "<\uFF5C\u2581pad\u2581\uFF5C>",
      }),
      ...{ add_special_token: false, mask_prompt: true, ignore_id: -100 },
    };
  }
  return Object.fromEntries(
    Object.entries(files).map(([name, value]) => [name, `${JSON.stringify(value, null, 1)}\n`]),
  );
}
