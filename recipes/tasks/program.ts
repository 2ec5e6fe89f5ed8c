/** Runs a recipe on a task from its declaration, with the command line that all recipes have. */
import { runProgram } from "../shared/program.ts";
import { claimsPage, claimsPicture } from "../text/page.ts";
import type { TaskRecipe } from "./declaration.ts";

export const runTask = (recipe: TaskRecipe, argv: readonly string[]): Promise<number> =>
  runProgram(
    {
      ...{ name: recipe.name, folder: recipe.folder, title: recipe.title, notes: recipe.notes },
      ...{ arms: recipe.arms, measures: recipe.measures, comparisons: [], seeds: recipe.seeds },
      minutes: null,
      full: { text: recipe.fullText, minutes: null },
      report: (page, results, picture) => ({
        page: claimsPage(recipe, page, results, picture),
        picture: claimsPicture(recipe, results),
      }),
    },
    argv,
  );
