import { HedgeError, messageOf } from '../common/errors.js';
import { isForwarded, nameOfTopic } from './topics.js';
import { Encoding } from '../wire/hedge/v1/link.js';
import { notJson } from './json-values.js';
import { bytesPayload, NO_PAYLOAD, type Encoded } from './message.js';

/**
 * Converts values to bytes and back. All pods of a group must use the same serializer. It never receives `undefined` or a
 * `Uint8Array`, because these are sent unchanged.
 *
 * @example
 * const msgpack: Serializer = { serialize: encode, deserialize: decode };
 * HedgeModule.forRoot({ …, serializer: msgpack });
 */
export interface Serializer {
  serialize(value: unknown): Uint8Array;
  deserialize(bytes: Uint8Array): unknown;
}

/** The default serializer. It rejects values that JSON would silently drop or change: see `notJson`. */
const jsonSerializer: Serializer = {
  serialize(value) {
    const problem = notJson(value);
    if (problem !== undefined) throw new TypeError(problem);
    const text: string | undefined = JSON.stringify(value);
    if (text === undefined) throw new TypeError('its toJSON returns undefined');
    return Buffer.from(text);
  },
  deserialize(bytes) {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString());
  },
};

/** Encodes and decodes payloads with the serializer of the group. */
export class PayloadCodec {
  constructor(private readonly serializer: Serializer = jsonSerializer) {}

  /**
   * @param topic is used only in the error's message.
   * @throws HedgeError INVALID_ARGUMENT if the serializer cannot encode the value: JSON would drop or change it.
   */
  encode(topic: string, value: unknown): Encoded {
    if (value === undefined) return NO_PAYLOAD;
    if (value instanceof Uint8Array) return bytesPayload(value);
    try {
      return { encoding: Encoding.ENCODING_SERIALIZED, bytes: this.serializer.serialize(value) };
    } catch (cause) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `A value for ${subject(topic)} cannot be serialized: ${messageOf(cause)}. ` +
          'Send a value that the serializer supports (JSON by default), or a Uint8Array.',
        { cause, details: { topic } },
      );
    }
  }

  /**
   * @param topic is used only in the error's message.
   * @throws HedgeError INVALID_ARGUMENT if the serializer cannot decode the bytes: the pods use different serializers,
   *   or a newer pod uses an encoding that this pod does not know.
   */
  decode(topic: string, payload: Encoded): unknown {
    switch (payload.encoding) {
      case Encoding.ENCODING_NONE:
        return undefined;
      case Encoding.ENCODING_BYTES:
        return payload.bytes;
      case Encoding.ENCODING_SERIALIZED:
        return this.#deserialize(topic, payload.bytes);
      case Encoding.UNRECOGNIZED:
      default:
        throw new HedgeError(
          'INVALID_ARGUMENT',
          `A value for ${subject(topic)} came in encoding ${String(payload.encoding)}, which this version does not know. ` +
            'Run the same version of nestjs-hedge on all pods.',
          { details: { topic } },
        );
    }
  }

  #deserialize(topic: string, bytes: Uint8Array): unknown {
    try {
      return this.serializer.deserialize(bytes);
    } catch (cause) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `A value for ${subject(topic)} cannot be deserialized: ${messageOf(cause)}. Use the same serializer on all pods.`,
        { cause, details: { topic } },
      );
    }
  }
}

function subject(topic: string): string {
  return isForwarded({ topic }) ? nameOfTopic(topic) : `topic ${nameOfTopic(topic)}`;
}
