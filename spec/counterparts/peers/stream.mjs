// Messages of a stream, each of which can be told from its neighbours.

/** 64 KiB: the number in eight digits, over and over. */
export const piece = (number) => Buffer.alloc(65536, String(number).padStart(8, "0"));
