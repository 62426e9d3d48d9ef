import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { Code, SpannerError, type ErrorDetail } from '../common/status.js';
import type { Protos } from './protos.js';

const detailMessage = (detail: ErrorDetail): { type: string; header: string; message: object } => {
  if (detail.kind === 'retry') {
    const retryDelay = { seconds: Math.floor(detail.delayMs / 1000), nanos: Math.round((detail.delayMs % 1000) * 1e6) };
    return { type: 'google.rpc.RetryInfo', header: 'google.rpc.retryinfo-bin', message: { retryDelay } };
  }
  const { type, name, description } = detail;
  const message = { resourceType: type, resourceName: name, description };
  return { type: 'google.rpc.ResourceInfo', header: 'google.rpc.resourceinfo-bin', message };
};

/**
 * The error as a gRPC status. Details are in both places where clients look for them: in a separate header (Node), and
 * inside grpc-status-details-bin (Go, Java and Python).
 */
export const toServiceError = (error: unknown, protos: Protos): ServiceError => {
  const known = error instanceof SpannerError;
  const code: number = known ? error.code : Code.INTERNAL;
  const message = error instanceof Error ? error.message : String(error);
  const metadata = new Metadata();
  if (known && error.detail) {
    const { type, header, message: detail } = detailMessage(error.detail);
    metadata.set(header, protos.encode(type, detail));
    const full = { code, message, details: [protos.pack(type, detail)] };
    metadata.set('grpc-status-details-bin', protos.encode('google.rpc.Status', full));
  }
  const name = status[code] as keyof typeof status;
  return Object.assign(new Error(message), { code: status[name], details: message, metadata });
};
