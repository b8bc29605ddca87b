import { z } from 'zod';

/** A node's durable role: it serves, it holds the copy, or it was replaced and stays down. */
export const roleSchema = z.enum(['primary', 'standby', 'fenced']);
export type Role = z.infer<typeof roleSchema>;
