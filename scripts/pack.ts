/** `npm run pack`: writes the archive that is published, `npm publish deepseek-ts-VERSION.tgz`, into this folder. */
import { packPackage } from "./support/packed-package.ts";

console.log(packPackage(process.cwd()).file);
