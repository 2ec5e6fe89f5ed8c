/** Put in by the build. */
declare const __VERSION__: string;
declare module "*.css";
/** The address of a worker that the build made of a module. */
declare module "*?worker&url" {
  const address: string;
  export default address;
}
