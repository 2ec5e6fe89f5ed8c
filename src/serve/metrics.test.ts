import { expect, it } from "vitest";
import { Histogram } from "../engine/host/histogram.ts";
import { Counter, MetricsText } from "./metrics.ts";

it("writes counters, gauges and histograms as Prometheus reads them", () => {
  const requests = new Counter();
  requests.add({ route: "/a", status: "200" });
  requests.add({ route: "/a", status: "200" });
  requests.add({ route: 'b"\\\n', status: "400" }, 3);
  const times = new Histogram([0.1, 1]);
  for (const value of [0.05, 0.1, 0.5, 7]) times.observe(value);
  const text = new MetricsText();
  text.counter("requests_total", "Requests.", requests.values);
  text.gauge("running", "Running.", 2);
  text.histogram("seconds", "Times.", times.state);
  expect(text.toString()).toBe(`# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{route="/a",status="200"} 2
requests_total{route="b\\"\\\\\\n",status="400"} 3
# HELP running Running.
# TYPE running gauge
running 2
# HELP seconds Times.
# TYPE seconds histogram
seconds_bucket{le="0.1"} 2
seconds_bucket{le="1"} 3
seconds_bucket{le="+Inf"} 4
seconds_sum 7.65
seconds_count 4
`);
});
