import { writeFileSync } from "node:fs";
import { COMPATIBILITY_PAGE, compatibilityPage } from "./compatibility-table.ts";
import { VENDORS } from "./vendors.ts";

writeFileSync(COMPATIBILITY_PAGE, compatibilityPage(VENDORS));
