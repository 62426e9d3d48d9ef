import { createSign, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';

/** A certificate and its private key, as PEM text. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/**
 * A certificate authority for tests of TLS. It signs certificates (X.509, ECDSA P-256) that are valid from a day ago
 * until tomorrow.
 *
 * @see https://www.rfc-editor.org/rfc/rfc5280#section-4.1 (the fields) and ITU-T X.690 (their bytes)
 */
export class CertificateAuthority {
  readonly cert: string;
  readonly #key: KeyObject;

  constructor(private readonly name: string) {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#key = privateKey;
    this.cert = this.#sign(name, publicKey, extension(BASIC_CONSTRAINTS, der(SEQUENCE, der(BOOLEAN, bytes(0xff)))));
  }

  /** A certificate for the member with that DNS name. */
  issue(dnsName: string): Certificate {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const names = der(SEQUENCE, der(DNS_NAME, Buffer.from(dnsName)));
    return {
      cert: this.#sign(dnsName, publicKey, extension(SUBJECT_ALT_NAME, names)),
      key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    };
  }

  #sign(subject: string, publicKey: KeyObject, ...extensions: Buffer[]): string {
    const algorithm = der(SEQUENCE, ECDSA_WITH_SHA256);
    const unsigned = der(
      SEQUENCE,
      der(VERSION, der(INTEGER, bytes(2))),
      der(INTEGER, Buffer.concat([bytes(1), randomBytes(8)])),
      algorithm,
      commonName(this.name),
      der(SEQUENCE, time(-DAY_MS), time(DAY_MS)),
      commonName(subject),
      publicKey.export({ type: 'spki', format: 'der' }),
      der(EXTENSIONS, der(SEQUENCE, ...extensions)),
    );
    const signature = createSign('sha256').update(unsigned).sign(this.#key);
    const whole = der(SEQUENCE, unsigned, algorithm, der(BIT_STRING, bytes(0), signature));
    return `-----BEGIN CERTIFICATE-----\n${whole.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`;
  }
}

const DAY_MS = 86_400_000;

const BOOLEAN = 0x01;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const UTF8_STRING = 0x0c;
const UTC_TIME = 0x17;
const SEQUENCE = 0x30;
const SET = 0x31;
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
const DNS_NAME = 0x82;

const ECDSA_WITH_SHA256 = Buffer.from('06082a8648ce3d040302', 'hex');
const COMMON_NAME = Buffer.from('0603550403', 'hex');
const BASIC_CONSTRAINTS = Buffer.from('0603551d13', 'hex');
const SUBJECT_ALT_NAME = Buffer.from('0603551d11', 'hex');

function der(tag: number, ...content: Buffer[]): Buffer {
  const body = Buffer.concat(content);
  const length = body.length;
  const head = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([bytes(tag, ...head), body]);
}

function bytes(...values: number[]): Buffer {
  return Buffer.from(values);
}

function commonName(name: string): Buffer {
  return der(SEQUENCE, der(SET, der(SEQUENCE, COMMON_NAME, der(UTF8_STRING, Buffer.from(name)))));
}

function extension(oid: Buffer, value: Buffer): Buffer {
  return der(SEQUENCE, oid, der(OCTET_STRING, value));
}

/** `YYMMDDhhmmssZ`, the given number of milliseconds from now. */
function time(fromNowMs: number): Buffer {
  const digits = new Date(Date.now() + fromNowMs).toISOString().replace(/\D/g, '');
  return der(UTC_TIME, Buffer.from(`${digits.slice(2, 14)}Z`));
}
