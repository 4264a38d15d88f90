/*
 * libpq's own reading of connection strings, for comparison with ours.
 *
 *   parse      what PQconninfoParse makes of each string
 *   connect    what PQconnectStart makes of each string: with service file, environment and defaults, and
 *              PQpass, the password of the first host
 *   defaults   PQconndefaults, without input
 *
 * Strings come on standard input, each ended by a NUL. Each answer is a list of fields, each ended by a NUL:
 * the error or an empty field, the number of pairs, and keyword and value of each parameter that is set.
 * `defaults` answers with seven fields for each parameter, of which the first four have "=" before a value
 * and are empty for NULL.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct
{
	char	   *keyword;
	char	   *envvar;
	char	   *compiled;
	char	   *val;
	char	   *label;
	char	   *dispchar;
	int			dispsize;
} PQconninfoOption;

typedef struct pg_conn PGconn;

extern PQconninfoOption *PQconninfoParse(const char *conninfo, char **errmsg);
extern PQconninfoOption *PQconndefaults(void);
extern PQconninfoOption *PQconninfo(PGconn *conn);
extern void PQconninfoFree(PQconninfoOption *options);
extern void PQfreemem(void *memory);
extern PGconn *PQconnectStart(const char *conninfo);
extern void PQfinish(PGconn *conn);
extern char *PQerrorMessage(const PGconn *conn);
extern char *PQpass(const PGconn *conn);

static void
field(const char *text)
{
	fputs(text, stdout);
	putchar('\0');
}

static void
nullable(const char *text)
{
	if (text != NULL)
		putchar('=');
	field(text == NULL ? "" : text);
}

static void
answer(const char *error, const PQconninfoOption *options, const char *password)
{
	const PQconninfoOption *option;
	int			count = password == NULL ? 0 : 1;
	char		number[20];

	field(error);
	for (option = options; option != NULL && option->keyword != NULL; option++)
		count += option->val != NULL;
	snprintf(number, sizeof(number), "%d", count);
	field(number);
	for (option = options; option != NULL && option->keyword != NULL; option++)
	{
		if (option->val == NULL)
			continue;
		field(option->keyword);
		field(option->val);
	}
	if (password != NULL)
	{
		field("PQpass");
		field(password);
	}
}

static void
parse(const char *text)
{
	char	   *error = NULL;
	PQconninfoOption *options = PQconninfoParse(text, &error);

	answer(options == NULL ? error : "", options, NULL);
	PQconninfoFree(options);
	PQfreemem(error);
}

static void
connect_start(const char *text)
{
	PGconn	   *conn = PQconnectStart(text);
	PQconninfoOption *options = PQconninfo(conn);

	answer(PQerrorMessage(conn), options, PQpass(conn));
	PQconninfoFree(options);
	PQfinish(conn);
}

static void
defaults(void)
{
	PQconninfoOption *options = PQconndefaults();
	char		number[20];

	for (PQconninfoOption *option = options; option->keyword != NULL; option++)
	{
		nullable(option->keyword);
		nullable(option->envvar);
		nullable(option->compiled);
		nullable(option->val);
		field(option->label);
		field(option->dispchar);
		snprintf(number, sizeof(number), "%d", option->dispsize);
		field(number);
	}
	PQconninfoFree(options);
}

int
main(int argc, char **argv)
{
	char	   *text = NULL;
	size_t		size = 0;

	if (argc == 2 && strcmp(argv[1], "defaults") == 0)
	{
		defaults();
		return 0;
	}
	if (argc != 2)
		return 2;
	while (getdelim(&text, &size, '\0', stdin) > 0)
	{
		if (strcmp(argv[1], "connect") == 0)
			connect_start(text);
		else
			parse(text);
	}
	free(text);
	return 0;
}
