import project from "../package.json" with { type: "json" };

/** The release that runs. */
export const VERSION: string = project.version;
