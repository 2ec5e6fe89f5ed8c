/**
 * Keys and values of multi-head latent attention in its naive form (DeepSeek-V2, equations 9 to 19): the expanded
 * latent gives each head its position-free key and its value; the rotary key is one for all heads.
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";

const sizeNames = ["tokens", "heads", "nope", "valueWidth", "rope"] as const;

const work = (s: Record<(typeof sizeNames)[number], number>) =>
  s.tokens * s.heads * (s.nope + s.valueWidth + s.rope);

const expandKernel = defineKernel({
  name: "mla_expand",
  operands: { kv: "in f32", kRope: "in f32", k: "out f32", v: "out f32" },
  ints: sizeNames,
  work,
  reference: ({ kv, kRope, k, v }, { tokens, heads, nope, valueWidth, rope }) => {
    for (let row = 0; row < tokens * heads; row++) {
      const from = row * (nope + valueWidth);
      const to = row * (nope + rope);
      const shared = Math.floor(row / heads) * rope;
      for (let i = 0; i < nope; i++) k[to + i] = kv[from + i];
      for (let i = 0; i < rope; i++) k[to + nope + i] = kRope[shared + i];
      for (let i = 0; i < valueWidth; i++) v[row * valueWidth + i] = kv[from + nope + i];
    }
  },
});

const backwardKernel = defineKernel({
  name: "mla_expand_backward",
  operands: { dk: "in f32?", dv: "in f32?", dkv: "inout f32?", dkRope: "inout f32?" },
  ints: [...sizeNames, "addKv", "addRope"],
  work,
  reference: ({ dk, dv, dkv, dkRope }, { tokens, heads, nope, valueWidth, rope, addKv, addRope }) => {
    if (!addKv) dkv?.fill(0, 0, tokens * heads * (nope + valueWidth));
    if (!addRope) dkRope?.fill(0, 0, tokens * rope);
    for (let row = 0; row < tokens * heads; row++) {
      const to = row * (nope + valueWidth);
      const from = row * (nope + rope);
      const shared = Math.floor(row / heads) * rope;
      for (let i = 0; dkv && dk && i < nope; i++) dkv[to + i] += dk[from + i];
      for (let i = 0; dkv && dv && i < valueWidth; i++) dkv[to + nope + i] += dv[row * valueWidth + i];
      for (let i = 0; dkRope && dk && i < rope; i++) dkRope[shared + i] += dk[from + nope + i];
    }
  },
});

/**
 * Splits the expanded latent kv [B,S,H,nope+v] and appends the shared rotary key kRope [B,S,R]:
 * k [B,S,H,nope+R], v [B,S,H,v], f32. @throws ShapeError
 */
export function mlaExpand(kv: Tensor, kRope: Tensor, nope: number): [k: Tensor, v: Tensor] {
  const [batch, tokens, heads, both] = kv.shape;
  if (kv.shape.length !== 4 || !(nope >= 0 && nope <= both)) {
    throw new ShapeError("kv must be [B, S, H, nope + v]", {
      where: "mlaExpand",
      expected: `[B, S, H, at least ${nope}]`,
      found: kv.shape,
    });
  }
  const rope = kRope.shape[2];
  if (kRope.shape.length !== 3 || kRope.shape[0] !== batch || kRope.shape[1] !== tokens) {
    throw new ShapeError("kRope does not have the tokens of kv", {
      where: "mlaExpand",
      expected: [batch, tokens, "R"],
      found: kRope.shape,
    });
  }
  const { device } = kv;
  const valueWidth = both - nope;
  const sizes = { tokens: batch * tokens, heads, nope, valueWidth, rope };
  const k = device.empty([batch, tokens, heads, nope + rope]);
  const v = device.empty([batch, tokens, heads, valueWidth]);
  expandKernel.run(device, { kv, kRope, k, v }, sizes);
  record([k, v], [kv, kRope], ([dk, dv], grads) => {
    const toKv = grads.wants(0) ? grads.target(0) : null;
    const toRope = grads.wants(1) ? grads.target(1) : null;
    backwardKernel.run(
      device,
      { dk, dv, dkv: toKv?.tensor ?? null, dkRope: toRope?.tensor ?? null },
      { ...sizes, addKv: toKv?.accumulate ?? 0, addRope: toRope?.accumulate ?? 0 },
    );
  });
  return [k, v];
}
