/** An id that no other object has: the prefix and 32 hexadecimal digits. */
export const freshId = (prefix: string): string => prefix + crypto.randomUUID().replaceAll("-", "");
