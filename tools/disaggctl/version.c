// SPDX-License-Identifier: GPL-2.0
/* disaggctl version */
#include "module.h"
#include "output.h"


int version_show(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	struct dsg_module_info info = { .api = 0 };
	struct dsg_netlink *nl;
	bool asked = false;

	(void)argc;
	(void)argv;
	/* What can't be asked is not known; the tool's own version is. */
	if (module_open_if_loaded(&nl, fault))
		cli_warn(cli, "%s", fault->reason);
	if (nl && dsg_netlink_info(nl, &info, fault))
		cli_warn(cli, "%s", fault->reason);
	else if (nl)
		asked = true;
	if (cli->json) {
		struct json_object *document = json_document();

		put_string(document, "tool", DISAGG_VERSION);
		put_bool(document, "module_loaded", nl);
		put_string_or_null(document, "module", info.version);
		put_value(document, "api", asked ? json_object_new_uint64(info.api) : NULL);
		put_value(document, "module_wire",
			  asked ? json_object_new_uint64(info.wire) : NULL);
		put_number(document, "wire", DISAGG_WIRE_VERSION);
		json_print(cli, document);
	} else {
		printf("disaggctl  %s\n", DISAGG_VERSION);
		printf("module     %s\n", asked ? info.version : nl ? "loaded" : "not loaded");
		if (asked)
			printf("api        %u\n", info.api);
		printf("wire       %u\n", DISAGG_WIRE_VERSION);
	}
	dsg_netlink_close(nl);
	return 0;
}
