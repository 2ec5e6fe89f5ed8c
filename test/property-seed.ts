/**
 * One seed for all property tests, so that a run of the tests says something about the code and not about the day.
 * `PROPERTY_SEED=random` draws another, `PROPERTY_SEED=NUMBER` repeats one; a failure prints what it needs to be repeated.
 */
import fc from "fast-check";

const { PROPERTY_SEED = "1" } = process.env;
if (PROPERTY_SEED !== "random") {
  const seed = Number(PROPERTY_SEED);
  if (!Number.isInteger(seed))
    throw new Error(`PROPERTY_SEED: a whole number or "random", not ${PROPERTY_SEED}`);
  fc.configureGlobal({ seed });
}
