declare module "swagger-ui-dist/swagger-ui-es-bundle.js" {
  /** https://swagger.io/docs/open-source-tools/swagger-ui/usage/configuration/ */
  interface SwaggerUIOptions {
    url: string;
    domNode: Element | null;
    docExpansion: "list" | "full" | "none";
    defaultModelsExpandDepth: number;
    validatorUrl: string | null;
    deepLinking: boolean;
  }
  export default function SwaggerUI(options: SwaggerUIOptions): unknown;
}
