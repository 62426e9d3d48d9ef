/** The version of this package. A test compares it with package.json; a bundle has no package.json to read. */
export const VERSION = '0.2.0';
