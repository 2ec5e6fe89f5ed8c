/**
 * Files that hold keys and passwords, by their usual names and by what private keys look like: they never become
 * training text by accident. Source code that handles secrets (`credentials.ts`) is none of them.
 */

const NAMES: readonly RegExp[] = [
  // Environments: .env, .env.local, prod.env.
  /^\.env(\..+)?$/,
  /\.env$/,
  // Keys and key stores.
  /\.(pem|key|p8|p12|pfx|ppk|jks|keystore|kdbx?|keychain|asc|gpg|pgp|ovpn)$/,
  /^id_(rsa|dsa|ecdsa|ed25519)(_sk)?(\..+)?$/,
  // Logins of programs.
  /^[._]?(netrc|npmrc|yarnrc|pypirc|pgpass|htpasswd|git-credentials|dockercfg|boto|s3cfg|my\.cnf|curlrc)$/,
  /^(kubeconfig|wp-config\.php|shadow|master\.key)$/,
  // Data files that say what they are.
  /^(credentials?|secrets?|passwords?|passwd|api[-_]?keys?|client[-_]secrets?|service[-_]account)([-_.].*)?\.(json|ya?ml|toml|ini|txt|csv|xml|properties|cfg|conf)$/,
  /^(credentials?|secrets?|passwords?|passwd)$/,
  /[-_.](credentials?|secrets?|service[-_]account)\.(json|ya?ml|toml|ini|properties)$/,
  /\.(tfstate|tfvars)(\.backup)?$/,
];

/** Whether a file of this name usually holds secrets. */
export function isSecretName(name: string): boolean {
  const lower = name.toLowerCase();
  return NAMES.some((pattern) => pattern.test(lower));
}

// The dashes and then a line of Base64: a parser of such files has the first alone.
const PRIVATE_KEY =
  /-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\\r|\\n|[\s"'`+,])*(?:[A-Za-z-]+: [^\n]*\n\s*)*[A-Za-z0-9+/=]{40}/;

/** Whether a text holds a private key. */
export function isSecretText(text: string): boolean {
  return text.includes("PRIVATE KEY") && PRIVATE_KEY.test(text);
}
