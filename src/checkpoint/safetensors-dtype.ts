/** The dtypes of safetensors that this package knows. */

/** Bytes per element, in the order in which the official library ranks dtypes. */
export const safetensorsDtypes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  F8_E8M0: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
} as const;

export type SafetensorsDtype = keyof typeof safetensorsDtypes;

/** Whether this package knows a dtype, and so how many bytes an element takes. */
export function isKnownDtype(dtype: string): dtype is SafetensorsDtype {
  return Object.hasOwn(safetensorsDtypes, dtype);
}
