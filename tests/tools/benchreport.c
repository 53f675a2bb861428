/* benchreport.c - medians, spreads and ratios of a benchmark's raw figures, as a table or as JSON.
 *
 *	benchreport [--json] <RESULTS
 *
 * A line is "FIGURE UNIT SYSTEM VALUE"; each repetition adds one. The first system of a figure is
 * the one that the others are compared with; ratios are this system's median over theirs. Unit "s"
 * is better when smaller, all others when larger. */
#include <err.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIGURES_MAX 128
#define SYSTEMS_MAX 8
#define REPS_MAX    64

struct series {
	char system[32];
	double value[REPS_MAX];
	int nr;
};

struct figure {
	char name[48], unit[16];
	struct series of[SYSTEMS_MAX];
	int nr_systems;
};

static struct figure figures[FIGURES_MAX];
static int nr_figures;

static struct figure *figure_of(const char *name, const char *unit)
{
	for (int i = 0; i < nr_figures; i++)
		if (strcmp(figures[i].name, name) == 0)
			return &figures[i];
	if (nr_figures == FIGURES_MAX)
		errx(1, "too many figures");
	snprintf(figures[nr_figures].name, sizeof(figures[0].name), "%s", name);
	snprintf(figures[nr_figures].unit, sizeof(figures[0].unit), "%s", unit);
	return &figures[nr_figures++];
}

static struct series *series_of(struct figure *f, const char *system)
{
	for (int i = 0; i < f->nr_systems; i++)
		if (strcmp(f->of[i].system, system) == 0)
			return &f->of[i];
	if (f->nr_systems == SYSTEMS_MAX)
		errx(1, "%s: too many systems", f->name);
	snprintf(f->of[f->nr_systems].system, sizeof(f->of[0].system), "%s", system);
	return &f->of[f->nr_systems++];
}

static void read_results(void)
{
	char line[256], name[48], unit[16], system[32];
	double value;

	while (fgets(line, sizeof(line), stdin) != NULL) {
		struct series *s;

		if (sscanf(line, "%47s %15s %31s %lf", name, unit, system, &value) != 4)
			errx(1, "not a result: %s", line);
		s = series_of(figure_of(name, unit), system);
		if (s->nr == REPS_MAX)
			errx(1, "%s: too many repetitions", name);
		s->value[s->nr++] = value;
	}
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const struct series *s)
{
	return (s->value[(s->nr - 1) / 2] + s->value[s->nr / 2]) / 2;
}

static void sort_all(void)
{
	for (int i = 0; i < nr_figures; i++)
		for (int k = 0; k < figures[i].nr_systems; k++)
			qsort(figures[i].of[k].value, (size_t)figures[i].of[k].nr, sizeof(double),
				ascending);
}

/* How many times better the first system is than S. */
static double advantage(const struct figure *f, const struct series *s)
{
	double ours = median(&f->of[0]), theirs = median(s);

	return strcmp(f->unit, "s") == 0 ? theirs / ours : ours / theirs;
}

static bool same_systems(const struct figure *a, const struct figure *b)
{
	if (a->nr_systems != b->nr_systems)
		return false;
	for (int k = 0; k < a->nr_systems; k++)
		if (strcmp(a->of[k].system, b->of[k].system) != 0)
			return false;
	return true;
}

/* Four digits at least, and no exponent. */
static const char *short_number(double v, char *out, size_t bytes)
{
	snprintf(out, bytes, "%.*f", v >= 1000 ? 0 : v >= 100 ? 1 : v >= 10 ? 2 : 3, v);
	return out;
}

static void print_heading(const struct figure *f)
{
	printf("%-26s %-6s", "", "");
	for (int k = 0; k < f->nr_systems; k++)
		printf(" %-25s", f->of[k].system);
	for (int k = 1; k < f->nr_systems; k++)
		printf(" / %-10s", f->of[k].system);
	putchar('\n');
}

static void print_figure(const struct figure *f)
{
	printf("%-26s %-6s", f->name, f->unit);
	for (int k = 0; k < f->nr_systems; k++) {
		const struct series *s = &f->of[k];
		char mid[32], low[32], high[32], all[112];

		snprintf(all, sizeof(all), "%s (%s-%s)", short_number(median(s), mid, sizeof(mid)),
			short_number(s->value[0], low, sizeof(low)),
			short_number(s->value[s->nr - 1], high, sizeof(high)));
		printf(" %-25s", all);
	}
	for (int k = 1; k < f->nr_systems; k++)
		printf(" %6.2fx     ", advantage(f, &f->of[k]));
	putchar('\n');
}

static void print_table(void)
{
	for (int i = 0; i < nr_figures; i++) {
		if (i == 0 || !same_systems(&figures[i], &figures[i - 1]))
			print_heading(&figures[i]);
		print_figure(&figures[i]);
	}
}

static struct json_object *series_json(const struct figure *f, const struct series *s)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "median", json_object_new_double(median(s)));
	json_object_object_add(o, "min", json_object_new_double(s->value[0]));
	json_object_object_add(o, "max", json_object_new_double(s->value[s->nr - 1]));
	json_object_object_add(o, "repetitions", json_object_new_int(s->nr));
	if (s != &f->of[0])
		json_object_object_add(o, "advantage", json_object_new_double(advantage(f, s)));
	return o;
}

static void print_json(void)
{
	struct json_object *all = json_object_new_array();

	for (int i = 0; i < nr_figures; i++) {
		const struct figure *f = &figures[i];
		struct json_object *o = json_object_new_object();
		struct json_object *systems = json_object_new_object();

		json_object_object_add(o, "figure", json_object_new_string(f->name));
		json_object_object_add(o, "unit", json_object_new_string(f->unit));
		for (int k = 0; k < f->nr_systems; k++)
			json_object_object_add(systems, f->of[k].system, series_json(f, &f->of[k]));
		json_object_object_add(o, "systems", systems);
		json_object_array_add(all, o);
	}
	puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY));
	json_object_put(all);
}

int main(int argc, char **argv)
{
	read_results();
	sort_all();
	if (argc > 1 && strcmp(argv[1], "--json") == 0)
		print_json();
	else
		print_table();
	return 0;
}
