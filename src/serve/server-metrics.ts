/** The text of GET /metrics: requests as the HTTP thread counts them, generation as the engine's thread does. */

import type { EngineFigures } from "../engine/host/protocol.ts";
import { type Counter, MetricsText } from "./metrics.ts";
import type { Verifier } from "./verify-answer.ts";

/** Prometheus' text of everything known; figures are left out before the engine has said any. */
export function metricsText(
  requests: Counter,
  active: number,
  figures: EngineFigures | null,
  verifier: Pick<Verifier, "given" | "open"> | null = null,
): string {
  const text = new MetricsText();
  text.counter(
    "deepseek_ts_http_requests_total",
    "Requests answered, by route, method and status.",
    requests.values,
  );
  text.gauge("deepseek_ts_jobs_active", "Requests whose answers are under way.", active);
  if (figures) {
    text.gauge("deepseek_ts_generations_running", "Generations in the batch.", figures.running);
    text.gauge("deepseek_ts_generations_waiting", "Generations in the queue.", figures.waiting);
    text.counter(
      "deepseek_ts_prompt_tokens_total",
      "Prompt tokens, cached ones included.",
      figures.promptTokens,
    );
    text.counter(
      "deepseek_ts_cached_tokens_total",
      "Prompt tokens found in the prefix cache.",
      figures.cachedTokens,
    );
    text.counter("deepseek_ts_generated_tokens_total", "Tokens generated.", figures.generatedTokens);
    text.counter(
      "deepseek_ts_generations_total",
      "Generations ended, by reason.",
      Object.entries(figures.ended).map(([reason, value]) => ({ labels: { reason }, value })),
    );
    text.counter("deepseek_ts_steps_total", "Passes of the model.", figures.steps);
    text.counter("deepseek_ts_step_rows_total", "Tokens read in all passes together.", figures.batchRows);
    text.counter(
      "deepseek_ts_preemptions_total",
      "Generations that were preempted: cache evicted, tokens recomputed.",
      figures.preemptions,
    );
    text.counter(
      "deepseek_ts_drafted_tokens_total",
      "Tokens drafted by multi-token prediction.",
      figures.draftedTokens,
    );
    text.counter("deepseek_ts_accepted_tokens_total", "Drafted tokens accepted.", figures.acceptedTokens);
    if (figures.images !== null) imageMetrics(text, figures.images);
    if (figures.drawings !== null) drawingMetrics(text, figures.drawings);
    text.gauge("deepseek_ts_cache_tokens", "Tokens that the cache has room for.", figures.cacheTokens);
    text.gauge("deepseek_ts_cache_tokens_used", "Tokens in the cache.", figures.cacheTokensUsed);
    text.gauge("deepseek_ts_cache_bytes", "Bytes of the cache.", figures.cacheBytes);
    text.gauge("deepseek_ts_device_bytes", "Bytes of all tensors.", figures.deviceBytes);
    if (figures.heapBytes !== null) {
      text.gauge("deepseek_ts_engine_heap_bytes", "Heap of the engine's thread in use.", figures.heapBytes);
    }
    text.histogram(
      "deepseek_ts_first_token_seconds",
      "Time from a request to its first token.",
      figures.firstToken,
    );
    text.histogram(
      "deepseek_ts_between_tokens_seconds",
      "Time between tokens of a generation.",
      figures.betweenTokens,
    );
  }
  if (verifier !== null) {
    text.counter("deepseek_ts_proofs_verified_total", "Proofs judged, by verdict.", verifier.given.values);
    text.gauge("deepseek_ts_proofs_waiting", "Proofs that are not judged yet.", verifier.open);
  }
  const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
  text.gauge("process_resident_memory_bytes", "Resident memory of the process.", rss);
  text.gauge("nodejs_heap_used_bytes", "Heap of the HTTP thread in use.", heapUsed);
  text.gauge("nodejs_array_buffer_bytes", "Array buffers of the HTTP thread.", arrayBuffers);
  return text.toString();
}

function drawingMetrics(text: MetricsText, drawings: NonNullable<EngineFigures["drawings"]>): void {
  text.counter("deepseek_ts_pictures_drawn_total", "Pictures drawn.", drawings.drawn);
  text.counter(
    "deepseek_ts_drawing_seconds_total",
    "Seconds spent on requests for pictures.",
    drawings.seconds,
  );
  text.gauge("deepseek_ts_drawings_running", "Requests for pictures that are drawn.", drawings.running);
  text.gauge("deepseek_ts_drawings_waiting", "Requests for pictures that wait.", drawings.waiting);
}

function imageMetrics(text: MetricsText, images: NonNullable<EngineFigures["images"]>): void {
  text.counter("deepseek_ts_images_encoded_total", "Images that the tower has seen.", images.encoded);
  text.counter(
    "deepseek_ts_images_cached_total",
    "Images whose embeddings were kept from earlier requests.",
    images.kept,
  );
  text.counter("deepseek_ts_image_views_total", "Views (whole images and tiles) encoded.", images.views);
  text.counter(
    "deepseek_ts_image_seconds_total",
    "Seconds spent on decoding and encoding images.",
    images.seconds,
  );
  text.gauge(
    "deepseek_ts_image_requests_waiting",
    "Requests whose images are not encoded yet.",
    images.waiting,
  );
  text.gauge("deepseek_ts_image_cache_bytes", "Bytes of embeddings that are kept.", images.cacheBytes);
}
