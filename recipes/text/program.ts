/** Runs a recipe on text from its declaration, with the command line that all recipes have. */
import type { ArmContext, Recipe } from "../shared/program.ts";
import { runProgram } from "../shared/program.ts";
import { minutesOf, runArm } from "./arm.ts";
import type { TextRecipe } from "./declaration.ts";
import { claimsPage, claimsPicture } from "./page.ts";

export function recipeOf(recipe: TextRecipe): Recipe {
  const { full, tokens, speed } = recipe;
  const longForm = `trains each arm on ${full.tokens / 1e6}M tokens`;
  return {
    ...{ name: recipe.name, folder: recipe.folder, title: recipe.title, notes: recipe.notes },
    ...{ seeds: recipe.seeds, measures: recipe.measures, comparisons: [] },
    minutes: minutesOf(tokens, speed),
    full: {
      text: `${full.tokens / 1e6}M tokens for each arm instead of ${tokens / 1e6}M`,
      minutes: minutesOf(full.tokens, speed),
    },
    arms: recipe.arms.map((arm) => ({
      ...{ name: arm.name, text: arm.text },
      run: (context: ArmContext) => runArm(recipe, arm, context),
    })),
    report: (page, results, picture) => ({
      page: claimsPage({ ...recipe, longForm }, page, results, picture),
      picture: claimsPicture({ ...recipe, longForm }, results),
    }),
  };
}

export const runText = (recipe: TextRecipe, argv: readonly string[]): Promise<number> =>
  runProgram(recipeOf(recipe), argv);
